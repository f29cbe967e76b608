/* Accepts until there is nothing more to accept, or nothing to accept it with. */
#include "services/proxy/listener.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/ingress.h"
#include "services/proxy/listener_unix.h"
#include "services/proxy/memory_guard.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#define ACCEPT_BURST 64
#define PAUSE_MS     100

static int resolve(const char *address, struct addrinfo **out, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address)
        return err_set(err, "listener %s: not host:port", address);
    AUTO_FREE char *host = mem_strndup(address, (size_t)(colon - address));
    size_t len = strlen(host);
    char *name = host;
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        name++;
    }
    int status = getaddrinfo(strcmp(name, "*") == 0 ? NULL : name, colon + 1, &hints, out);
    return status == 0 ? 0 : err_set(err, "listener %s: %s", address, gai_strerror(status));
}

static int bind_to(int fd, const struct addrinfo *info)
{
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
        return -1;
    return bind(fd, info->ai_addr, info->ai_addrlen);
}

int listener_bind(const struct listener_config *config, int *fd, struct err *err)
{
    const char *path = listener_unix_path(config->address);
    struct addrinfo *info;
    if (path)
        return listener_unix_bind(path, fd, err);
    if (resolve(config->address, &info, err))
        return -1;
    *fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result = *fd < 0 ? -1 : bind_to(*fd, info);
    int error = errno;
    freeaddrinfo(info);
    if (result == 0)
        return 0;
    if (*fd >= 0)
        close(*fd);
    return err_set(err, "listener %s: %s", config->address, strerror(error));
}

static void accept_some(h2o_socket_t *sock, const char *err);

static void retry(struct timer *timer)
{
    struct listener *listener = H2O_STRUCT_FROM_MEMBER(struct listener, timer, timer);
    if (listener->sock)
        h2o_socket_read_start(listener->sock, accept_some);
}

/* Out of descriptors: the queue of the kernel waits, the loop does not spin. */
static void rest(struct listener *listener)
{
    h2o_socket_read_stop(listener->sock);
    timer_set(&listener->worker->priv->timers, &listener->timer,
              worker_now_ms(listener->worker) + PAUSE_MS);
}

static void take(struct listener *listener, int fd, const struct sockaddr *sa)
{
    struct worker_private *priv = listener->worker->priv;
    struct proxy *proxy = priv->proxy;
    if (atomic_fetch_add_explicit(&proxy->connections, 1, memory_order_relaxed) >=
            atomic_load_explicit(&proxy->connection_limit, memory_order_relaxed) ||
        memory_guard_level(proxy->memory) == MEMORY_SPENT) {
        atomic_fetch_sub_explicit(&proxy->connections, 1, memory_order_relaxed);
        metric_add(priv->stats.refused, 1);
        close(fd);
        return;
    }
    ingress_new(listener, fd, sa);
}

/* True: there may be more. */
static bool accept_burst(struct listener *listener)
{
    for (unsigned i = 0; i < ACCEPT_BURST; i++) {
        struct sockaddr_storage storage;
        socklen_t len = sizeof(storage);
        void *sa = &storage;
        int fd = accept4(listener->fd, sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(listener, fd, sa);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            rest(listener);
        if (errno != EINTR && errno != ECONNABORTED)
            return false;
    }
    return true;
}

static void accept_some(h2o_socket_t *sock, const char *err)
{
    struct listener *listener = sock->data;
    (void)err;
    worker_tick(listener->worker);
    accept_burst(listener);
}

static void configure(struct listener *listener, size_t index)
{
    const struct generation *generation = listener->worker->priv->generation;
    listener->config = (const struct listener_config *)generation->config->listeners.items + index;
    listener->tls = generation->tls[index];
}

struct listener *listener_add(struct worker *worker, size_t index, int fd)
{
    struct listener *listener = mem_zalloc(sizeof(*listener));
    listener->worker = worker;
    listener->fd = fd;
    listener->timer.fire = retry;
    listener->next = worker->priv->listeners;
    worker->priv->listeners = listener;
    configure(listener, index);
    return listener;
}

bool listener_follow(struct listener *listener)
{
    const char *address = listener->config->address;
    size_t index = generation_listener(listener->worker->priv->generation, address);
    if (index == SIZE_MAX)
        return false;
    configure(listener, index);
    return true;
}

void listener_start(struct listener *listener)
{
    if (listener->sock)
        return;
    listener->sock =
        h2o_evloop_socket_create(listener->worker->loop, listener->fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->sock->data = listener;
    h2o_socket_read_start(listener->sock, accept_some);
}

/* Whoever is in the accept queue was told that it is connected. */
void listener_retire(struct listener *listener)
{
    while (listener->sock && accept_burst(listener))
        ;
    listener_close(listener);
}

void listener_close(struct listener *listener)
{
    struct listener **at = &listener->worker->priv->listeners;
    while (*at != listener)
        at = &(*at)->next;
    *at = listener->next;
    timer_unlink(&listener->worker->priv->timers, &listener->timer);
    if (listener->sock)
        h2o_socket_close(listener->sock);
    else
        close(listener->fd);
    free(listener);
}
