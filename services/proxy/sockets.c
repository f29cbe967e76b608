/* A list; names given to sockets that are handed over are "listen " and the address. */
#include "services/proxy/sockets.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/listener.h"
#include "services/proxy/listener_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

static void add(struct sockets *sockets, const char *address, int fd, size_t worker)
{
    sockets->rows = mem_resize(sockets->rows, sockets->count + 1, sizeof(*sockets->rows));
    sockets->rows[sockets->count++] =
        (struct socket_row){.address = mem_strdup(address), .fd = fd, .worker = (unsigned)worker};
}

static bool has(const struct sockets *sockets, const char *address)
{
    for (size_t i = 0; i < sockets->count; i++)
        if (strcmp(sockets->rows[i].address, address) == 0)
            return true;
    return false;
}

static int open_one(const struct listener_config *listener, size_t workers, struct service *service,
                    struct sockets *added, struct err *err)
{
    AUTO_FREE char *name = mem_printf("listen %s", listener->address);
    size_t count = 0;
    int fd;
    while ((fd = service_inherited(service, name)) >= 0)
        add(added, listener->address, fd, count++ % workers);
    for (; count < workers; count++) {
        /* At a path there is one socket for all. */
        if (count && listener_unix_path(listener->address))
            fd = fcntl(added->rows[added->count - 1].fd, F_DUPFD_CLOEXEC, 0);
        else if (listener_bind(listener, &fd, err))
            return -1;
        add(added, listener->address, fd, count);
    }
    return 0;
}

void sockets_close(struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        close(sockets->rows[i].fd);
    sockets_clear(sockets);
}

int sockets_open(const struct sockets *open, const struct proxy_config *config, size_t workers,
                 struct service *service, struct sockets *added, struct err *err)
{
    const struct listener_config *listeners = config->listeners.items;
    for (size_t i = 0; i < config->listeners.count; i++) {
        if (!has(open, listeners[i].address) &&
            open_one(&listeners[i], workers, service, added, err)) {
            sockets_close(added);
            return -1;
        }
    }
    return 0;
}

void sockets_listen(const struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        if (listen(sockets->rows[i].fd, BACKLOG))
            log_error("cannot listen", LOG_STR(ADDRESS, sockets->rows[i].address),
                      LOG_STR(ERROR, strerror(errno)));
}

void sockets_join(struct sockets *sockets, struct sockets *added)
{
    for (size_t i = 0; i < added->count; i++)
        add(sockets, added->rows[i].address, added->rows[i].fd, added->rows[i].worker);
    sockets_clear(added);
}

static bool names(const struct proxy_config *config, const char *address)
{
    const struct listener_config *listeners = config->listeners.items;
    for (size_t i = 0; i < config->listeners.count; i++)
        if (strcmp(listeners[i].address, address) == 0)
            return true;
    return false;
}

void sockets_forget(struct sockets *sockets, const struct proxy_config *config)
{
    size_t kept = 0;
    for (size_t i = 0; i < sockets->count; i++) {
        if (names(config, sockets->rows[i].address))
            sockets->rows[kept++] = sockets->rows[i];
        else
            free(sockets->rows[i].address);
    }
    sockets->count = kept;
}

void sockets_offer(const struct sockets *sockets, struct service *service)
{
    for (size_t i = 0; i < sockets->count; i++) {
        AUTO_FREE char *name = mem_printf("listen %s", sockets->rows[i].address);
        service_offer(service, name, sockets->rows[i].fd);
    }
}

void sockets_clean(const struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++) {
        const char *path = listener_unix_path(sockets->rows[i].address);
        if (path)
            listener_unix_clean(path);
    }
}

void sockets_clear(struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        free(sockets->rows[i].address);
    free(sockets->rows);
    *sockets = (struct sockets){NULL, 0};
}
