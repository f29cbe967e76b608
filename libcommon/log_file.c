/* Owns the last step of a line: bytes into a descriptor that may be slow, full or gone. */
#include "libcommon/log_file.h"

#include "libcommon/log_ring.h"
#include "libcommon/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define STUCK_MS   1000
#define FILE_BYTES (64 * 1024)

struct log_file {
    int fd;
    bool ours; /* the descriptor is closed with it */
    const struct log_ring *ring;
    bool torn; /* the last line in the file has no end */
    _Atomic uint64_t lost;
    size_t len, size;
    char *out;
};

static struct log_file *new_file(int fd, size_t size)
{
    struct log_file *file = mem_zalloc(sizeof(*file));

    file->fd = fd;
    file->size = size;
    file->out = mem_alloc(size);
    return file;
}

/* One write of PIPE_BUF: a pipe that polls writable takes so much at once. */
struct log_file *log_file_of(int fd)
{
    return new_file(fd, PIPE_BUF);
}

int log_file_open(const char *path, struct log_file **out, struct err *err)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);

    if (fd < 0)
        return err_set(err, "%s: %s", path, strerror(errno));
    *out = new_file(fd, FILE_BYTES);
    (*out)->ours = true;
    return 0;
}

void log_file_close(struct log_file **file)
{
    if (*file == NULL)
        return;
    if ((*file)->ours)
        close((*file)->fd);
    free((*file)->out);
    free(*file);
    *file = NULL;
}

void log_file_patience(struct log_file *file, const struct log_ring *ring)
{
    file->ring = ring;
}

/* It takes bytes, or did not for so long that nobody may be there to read. */
static bool writable(const struct log_file *file)
{
    struct pollfd fd = {.fd = file->fd, .events = POLLOUT};

    while (poll(&fd, 1, STUCK_MS) <= 0)
        if (file->ring == NULL || log_ring_pressed(file->ring))
            return false;
    return true;
}

static uint64_t count_lines(const char *data, size_t len)
{
    uint64_t count = 0;

    for (const char *at = data; (at = memchr(at, '\n', len - (size_t)(at - data))) != NULL; at++)
        count++;
    return count;
}

/* -1, or what was written of it. */
static ssize_t write_some(struct log_file *file, const char *data, size_t len)
{
    if (!writable(file)) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = write(file->fd, data, len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    return n == 0 ? -1 : n;
}

/* What is in the buffer; the rest of it is lost where that fails. */
static int write_out(struct log_file *file)
{
    size_t done = 0;

    while (done < file->len) {
        ssize_t n = write_some(file, file->out + done, file->len - done);
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (done > 0)
        file->torn = file->out[done - 1] != '\n';
    size_t left = file->len - done;
    file->len = 0;
    if (left == 0)
        return 0;
    atomic_fetch_add_explicit(&file->lost, count_lines(file->out + done, left),
                              memory_order_relaxed);
    return -1;
}

/* A line that the disk cut in two is ended first. */
static int put_out(struct log_file *file)
{
    if (file->torn && file->len > 0) {
        if (write_some(file, "\n", 1) == 1) {
            file->torn = false;
        } else {
            atomic_fetch_add_explicit(&file->lost, count_lines(file->out, file->len),
                                      memory_order_relaxed);
            file->len = 0;
            return -1;
        }
    }
    return write_out(file);
}

void log_file_add(struct log_file *file, const char *data, size_t len)
{
    if (len > file->size - file->len)
        put_out(file);
    memcpy(file->out + file->len, data, len);
    file->len += len;
}

int log_file_flush(struct log_file *file)
{
    return put_out(file);
}

uint64_t log_file_lost(const struct log_file *file)
{
    return atomic_load_explicit(&file->lost, memory_order_relaxed);
}
