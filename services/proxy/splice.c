/* Spare pipes of a thread, and the two system calls. */
#include "services/proxy/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

#define SPARE_MAX 16
#define LENT_MAX  64 /* who takes slowly holds one: no more descriptors than these are at stake */

static _Thread_local struct splice_pipe spares[SPARE_MAX];
static _Thread_local size_t spare_count;
static _Thread_local size_t lent;

static bool borrow(struct splice_pipe *p)
{
    int fds[2];
    if (lent == LENT_MAX)
        return false;
    if (spare_count) {
        *p = spares[--spare_count];
        lent++;
        return true;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
        return false;
    lent++;
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
    lent--;
    if (spare_count == SPARE_MAX) {
        close_pipe(p);
        return;
    }
    spares[spare_count++] = *p;
    *p = (struct splice_pipe){.held = 0};
}

size_t splice_read(struct splice_pipe *p, int from, size_t max)
{
    ssize_t n;
    if (!p->in && !borrow(p))
        return 0;
    do
        n = splice(from, NULL, p->in, NULL, max, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        p->held += (size_t)n;
    else
        give_back(p);
    return n > 0 ? (size_t)n : 0;
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
    if (p->in)
        lent--;
    close_pipe(p);
}

void splice_thread_end(void)
{
    while (spare_count)
        close_pipe(&spares[--spare_count]);
}
