/* Sockets, clock and WebSocket framing for the programs of the benchmarks (net.h). */
#include "bench/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

int64_t net_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void net_die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_socket(const char *text, struct sockaddr_in *address)
{
    char host[64];
    unsigned port;
    int on = 1;
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || port > UINT16_MAX ||
        inet_pton(AF_INET, host, &address->sin_addr) != 1)
        net_die(text);
    address->sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        net_die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    return fd;
}

int net_listen(const char *text)
{
    struct sockaddr_in address;
    int fd = open_socket(text, &address);
    const void *sa = &address;
    if (bind(fd, sa, sizeof(address)) || listen(fd, 4096))
        net_die(text);
    return fd;
}

int net_connect(const char *text)
{
    struct sockaddr_in address;
    int fd = open_socket(text, &address);
    const void *sa = &address;
    if (connect(fd, sa, sizeof(address)) && errno != EINPROGRESS)
        net_die(text);
    return fd;
}

void net_watch(int epoll, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        net_die("epoll_ctl");
}

void net_rewatch(int epoll, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event))
        net_die("epoll_ctl");
}

static size_t big_endian(const uint8_t *data, size_t len)
{
    size_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | data[i];
    return value;
}

bool net_frame_parse(const uint8_t *data, size_t len, struct net_frame *frame)
{
    if (len < 2)
        return false;
    size_t code = data[1] & 127;
    size_t extra = code == 126 ? 2 : code == 127 ? 8 : 0;
    frame->first = data[0];
    frame->masked = data[1] & 128;
    frame->head = 2 + extra + (frame->masked ? 4 : 0);
    if (len < frame->head)
        return false;
    frame->payload = extra ? big_endian(data + 2, extra) : code;
    if (frame->masked)
        memcpy(frame->mask, data + 2 + extra, 4);
    return true;
}

size_t net_frame_head(uint8_t *out, size_t payload, bool masked)
{
    size_t extra = payload < 126 ? 0 : payload <= UINT16_MAX ? 2 : 8;
    size_t code = extra == 0 ? payload : extra == 2 ? 126 : 127;
    out[0] = 0x82;
    out[1] = (uint8_t)(code | (masked ? 128 : 0));
    for (size_t i = 0; i < extra; i++)
        out[2 + i] = (uint8_t)(payload >> 8 * (extra - 1 - i));
    if (masked)
        memset(out + 2 + extra, 0, 4);
    return 2 + extra + (masked ? 4 : 0);
}

uint64_t net_header_number(const char *head, size_t len, const char *name, uint64_t absent)
{
    size_t name_len = strlen(name);
    const char *end = head + len;
    for (const char *line = head; line + name_len + 1 < end; line++) {
        if (strncasecmp(line, name, name_len) == 0 && line[name_len] == ':')
            return strtoull(line + name_len + 1, NULL, 10);
        line = memchr(line, '\n', (size_t)(end - line));
        if (!line)
            break;
    }
    return absent;
}
