/* Spare pipes of a thread, and the two system calls. */
#include "services/proxy/splice.h"

#include "services/proxy/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SPARE_MAX 16

static _Thread_local struct splice_pipe spares[SPARE_MAX];
static _Thread_local size_t spare_count;

static bool borrow(struct splice_pipe *p)
{
    int fds[2];
    if (spare_count) {
        *p = spares[--spare_count];
        return true;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
        return false;
    fcntl(fds[1], F_SETPIPE_SZ, SPLICE_MAX); /* what an unprivileged user may have left will do */
    *p = (struct splice_pipe){.in = fds[1], .out = fds[0]};
    return true;
}

static void close_pipe(struct splice_pipe *p)
{
    if (p->in) {
        close(p->in);
        close(p->out);
    }
    *p = (struct splice_pipe){.held = 0};
}

static void give_back(struct splice_pipe *p)
{
    if (spare_count == SPARE_MAX) {
        close_pipe(p);
        return;
    }
    spares[spare_count++] = *p;
    *p = (struct splice_pipe){.held = 0};
}

ssize_t splice_read(struct splice_pipe *p, int from, bool *unable)
{
    *unable = false;
    if (!p->in && !borrow(p)) {
        *unable = true;
        return IO_AGAIN;
    }
    ssize_t n;
    do
        n = splice(from, NULL, p->in, NULL, SPLICE_MAX, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    int error = errno;
    if (n > 0)
        p->held += (size_t)n;
    else if (p->held == 0)
        give_back(p);
    if (n >= 0)
        return n;
    *unable = error == EINVAL;
    return error == EAGAIN || error == EINVAL ? IO_AGAIN : -1;
}

int splice_write(struct splice_pipe *p, int to)
{
    while (p->held) {
        ssize_t n = splice(p->out, NULL, to, NULL, p->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return -1;
        p->held -= (size_t)n;
    }
    if (p->in)
        give_back(p);
    return 0;
}

void splice_drop(struct splice_pipe *p)
{
    close_pipe(p);
}

void splice_thread_end(void)
{
    while (spare_count)
        close_pipe(&spares[--spare_count]);
}
