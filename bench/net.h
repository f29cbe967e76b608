/* What the load generator and the origin of the benchmarks share: sockets, a clock, and the frames
 * of WebSocket as far as an echo needs them. Errors that make a measurement worthless end the
 * program. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_FRAME_HEAD_MAX 14

int64_t net_now_ns(void);
void net_die(const char *what) __attribute__((noreturn));
/* "address:port", IPv4. Both non-blocking. */
int net_listen(const char *address);
int net_connect(const char *address);
void net_watch(int epoll, int fd, uint32_t events, void *data);
void net_rewatch(int epoll, int fd, uint32_t events, void *data);

/* A frame at the start of `data` (RFC 6455, section 5.2). False: its head is not complete. */
struct net_frame {
    uint8_t first; /* FIN and opcode */
    bool masked;
    uint8_t mask[4];
    size_t head, payload;
};

bool net_frame_parse(const uint8_t *data, size_t len, struct net_frame *frame);
/* Writes the head of a final binary frame, with a mask of zeros where one is asked for. */
size_t net_frame_head(uint8_t *out, size_t payload, bool masked);

/* The decimal value of a header field in a complete head, or `absent`. */
uint64_t net_header_number(const char *head, size_t len, const char *name, uint64_t absent);

#endif
