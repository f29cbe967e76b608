/* Owns the way from a configured address to a socket, for who listens there and for who asks it
 * whether it is well. */
#include "libcommon/http_server_listen.h"

#include "libcommon/mem.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct target {
    char host[256];
    char port[8];
};

static int split(const char *address, struct target *target, struct err *err)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    bool bracketed = len >= 2 && address[0] == '[' && address[len - 1] == ']';
    const char *host = bracketed ? address + 1 : address;
    size_t host_len = bracketed ? len - 2 : len;

    if (colon == NULL || host_len >= sizeof(target->host) || strlen(colon + 1) > 5 ||
        colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtol(colon + 1, NULL, 10) > 65535 || (!bracketed && memchr(host, ':', host_len) != NULL))
        return err_set(err, "%.100s is not host:port or [IPv6]:port", address);
    memcpy(target->host, host, host_len);
    target->host[host_len] = '\0';
    snprintf(target->port, sizeof(target->port), "%s", colon + 1);
    return 0;
}

static void free_list(struct addrinfo **list)
{
    if (*list != NULL)
        freeaddrinfo(*list);
}

static int resolve(const struct target *target, struct addrinfo **out, struct err *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int result =
        getaddrinfo(target->host[0] != '\0' ? target->host : NULL, target->port, &hints, out);

    if (result != 0)
        return err_set(err, "%s: %s", target->host, gai_strerror(result));
    return 0;
}

static int listen_on(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    int off = 0;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

unsigned http_server_port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name = {.any = {.sa_family = AF_UNSPEC}};

    socklen_t len = sizeof(name);

    if (getsockname(fd, &name.any, &len) != 0)
        return 0;
    return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

int http_server_listen(const char *address, int *fd, unsigned *port, struct err *err)
{
    CLEANUP(free_list) struct addrinfo *list = NULL;
    struct target target;

    if (split(address, &target, err) != 0 || resolve(&target, &list, err) != 0)
        return -1;
    *fd = listen_on(list);
    if (*fd < 0)
        return err_set(err, "cannot listen on %.100s: %s", address, strerror(errno));
    *port = http_server_port_of(*fd);
    return 0;
}

static int connect_to(const struct addrinfo *address, int timeout_ms)
{
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* bounds connect too */
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int http_server_connect(const char *address, int timeout_ms, int *fd, struct err *err)
{
    CLEANUP(free_list) struct addrinfo *list = NULL;
    struct target target;

    if (split(address, &target, err) != 0)
        return -1;
    if (target.host[0] == '\0' || strcmp(target.host, "0.0.0.0") == 0)
        snprintf(target.host, sizeof(target.host), "127.0.0.1");
    else if (strcmp(target.host, "::") == 0)
        snprintf(target.host, sizeof(target.host), "::1");
    if (resolve(&target, &list, err) != 0)
        return -1;
    *fd = connect_to(list, timeout_ms);
    if (*fd < 0)
        return err_set(err, "cannot connect to %s port %s: %s", target.host, target.port,
                       strerror(errno == EINPROGRESS ? ETIMEDOUT : errno));
    return 0;
}
