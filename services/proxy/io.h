/* A connection's two ends of bytes: non-blocking reads and writes in the clear or under TLS, and
 * the bytes that a socket did not take yet. Whoever reads and writes need not know which it is:
 * what is read is plain, what waits in a queue is as the wire has it. */
#ifndef PROXY_IO_H
#define PROXY_IO_H

#include <h2o.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define IO_AGAIN    (-2)
#define IO_READ_MIN (32 * 1024) /* TLS hands out whole records */

struct ip_slot;
struct tls_conn;

struct io {
    int fd;
    struct tls_conn *tls; /* NULL: in the clear */
    h2o_socket_t *sock;   /* NULL: the loop does not know of it yet */
    struct ip_slot *slot; /* what its client's address has taken, given back with it; NULL: none */
};

/* The loop's handle of the descriptor, made where there is none yet; `data` becomes its data. */
h2o_socket_t *io_attach(struct io *io, h2o_loop_t *loop, void *data);
/* Ends handle, TLS and descriptor, without another word to the peer: what has no other mark of its
 * end is truncated for a peer that speaks TLS. */
void io_close(struct io *io);
/* The same between two messages: close_notify first, where there is TLS. */
void io_close_idle(struct io *io);

/* Bytes read; 0 at the peer's orderly end, -1 on an error, IO_AGAIN where there is nothing now. len
 * is at least IO_READ_MIN. Under TLS an end that was not announced (close_notify) is an error.
 * Nothing readable is held back: the socket's readiness is the whole truth. */
ssize_t io_read(struct io *io, char *buf, size_t len);

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
int io_write(struct io *io, struct io_queue *queue, struct iovec *iov, int count, size_t *written)
    __attribute__((warn_unused_result));
/* The same without TLS: for ciphertext, and what goes before TLS begins. */
int io_send(int fd, struct io_queue *queue, struct iovec *iov, int count, size_t *written)
    __attribute__((warn_unused_result));
/* Writes what waits. -1: the connection is broken. */
int io_flush(struct io *io, struct io_queue *queue) __attribute__((warn_unused_result));
/* No more follows: close_notify, then FIN. Where something still waits in the queue then, the FIN
 * is due after it was flushed, by another call. -1: the connection is broken. */
int io_end(struct io *io, struct io_queue *queue) __attribute__((warn_unused_result));

#endif
