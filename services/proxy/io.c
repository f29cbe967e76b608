/* System calls of the data plane, with their retries. */
#include "services/proxy/io.h"
#include "services/proxy/ip_slot.h"

#include "libcommon/mem.h"
#include "services/proxy/tls_conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

h2o_socket_t *io_attach(struct io *io, h2o_loop_t *loop, void *data)
{
    if (!io->sock)
        io->sock = h2o_evloop_socket_create(
            loop, io->fd, H2O_SOCKET_FLAG_DONT_READ | H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    io->sock->data = data;
    return io->sock;
}

void io_close(struct io *io)
{
    tls_conn_free(&io->tls);
    ip_slot_release(&io->slot);
    if (io->sock)
        h2o_socket_close(io->sock);
    else if (io->fd >= 0)
        close(io->fd);
    *io = (struct io){.fd = -1};
}

void io_close_idle(struct io *io)
{
    struct io_queue queue = {.len = 0};
    if (io->tls && tls_conn_end(io->tls, io->fd, &queue) == 0)
        io_queue_free(&queue);
    io_close(io);
}

ssize_t io_read(struct io *io, char *buf, size_t len)
{
    if (io->tls)
        return tls_conn_read(io->tls, io->fd, buf, len);
    for (;;) {
        ssize_t n = recv(io->fd, buf, len, 0);
        if (n >= 0)
            return n;
        if (errno == EAGAIN)
            return IO_AGAIN;
        if (errno != EINTR)
            return -1;
    }
}

void io_queue_free(struct io_queue *queue)
{
    free(queue->data);
    memset(queue, 0, sizeof(*queue));
}

void io_queue_add(struct io_queue *queue, const char *data, size_t len)
{
    if (len == 0)
        return;
    if (queue->at + queue->len + len > queue->cap) {
        if (queue->at)
            memmove(queue->data, queue->data + queue->at, queue->len);
        queue->at = 0;
        if (queue->len + len > queue->cap) {
            queue->cap = queue->len + len;
            queue->data = mem_resize(queue->data, queue->cap, 1);
        }
    }
    memcpy(queue->data + queue->at + queue->len, data, len);
    queue->len += len;
}

void io_queue_take(struct io_queue *queue, size_t len)
{
    queue->at += len;
    queue->len -= len;
}

static ssize_t write_some(int fd, struct iovec *iov, int count)
{
    /* The socket calls: read and write come to the same by a longer way. */
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    for (;;) {
        ssize_t n = count == 1 ? send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                               : sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return -1;
    }
}

int io_send(int fd, struct io_queue *queue, struct iovec *iov, int count, size_t *written)
{
    size_t taken = 0;
    if (queue->len == 0) {
        ssize_t n = write_some(fd, iov, count);
        if (n < 0)
            return -1;
        taken = (size_t)n;
    }
    if (written)
        *written = taken;
    for (int i = 0; i < count; i++) {
        size_t skip = taken < iov[i].iov_len ? taken : iov[i].iov_len;
        taken -= skip;
        io_queue_add(queue, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
    }
    return 0;
}

int io_write(struct io *io, struct io_queue *queue, struct iovec *iov, int count, size_t *written)
{
    if (io->tls)
        return tls_conn_write(io->tls, io->fd, queue, iov, count, written);
    return io_send(io->fd, queue, iov, count, written);
}

int io_flush(struct io *io, struct io_queue *queue)
{
    if (queue->len == 0)
        return 0;
    struct iovec iov = {queue->data + queue->at, queue->len};
    ssize_t n = write_some(io->fd, &iov, 1);
    if (n < 0)
        return -1;
    io_queue_take(queue, (size_t)n);
    if (queue->len == 0)
        io_queue_free(queue);
    return 0;
}

int io_end(struct io *io, struct io_queue *queue)
{
    if (io->tls && tls_conn_end(io->tls, io->fd, queue))
        return -1;
    if (queue->len == 0)
        shutdown(io->fd, SHUT_WR);
    return 0;
}
