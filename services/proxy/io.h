/* Non-blocking reads and writes, and the bytes that a socket did not take yet. */
#ifndef PROXY_IO_H
#define PROXY_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define IO_AGAIN (-2)

/* Bytes read; 0 at the end, -1 on an error, IO_AGAIN where there is nothing now. */
ssize_t io_read(int fd, char *buf, size_t len);

struct io_queue {
    char *data;
    size_t at, len, cap; /* data[at, at + len) waits */
};

void io_queue_free(struct io_queue *queue);
void io_queue_add(struct io_queue *queue, const char *data, size_t len);
/* The bytes stay where they are until the next add or free. */
void io_queue_take(struct io_queue *queue, size_t len);
/* Writes now what the socket takes, behind what waits already; the rest is queued. *written (may be
 * NULL) counts what was taken. -1: the connection is broken. */
int io_write(int fd, struct io_queue *queue, struct iovec *iov, int count, size_t *written)
    __attribute__((warn_unused_result));
/* Writes what waits. -1: the connection is broken. */
int io_flush(int fd, struct io_queue *queue) __attribute__((warn_unused_result));

#endif
