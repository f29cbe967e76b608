/* Bytes from one socket to another without a visit to this process, through a pipe. Pipes are
 * borrowed from the thread while something is in them. */
#ifndef PROXY_SPLICE_H
#define PROXY_SPLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SPLICE_MAX (256 * 1024) /* in a pipe at a time, where the system allows it */

struct splice_pipe {
    int in, out; /* 0, 0: none is borrowed */
    size_t held; /* bytes */
};

/* Moves what `from` has now into the pipe. > 0: bytes; 0: its end; IO_AGAIN: nothing now; -1: the
 * connection is broken. *unable (else false): no pipe can be had, read it in the usual way. */
ssize_t splice_read(struct splice_pipe *pipe, int from, bool *unable);
/* Moves what `to` takes now out of it. -1: the connection is broken. An empty pipe goes back. */
int splice_write(struct splice_pipe *pipe, int to) __attribute__((warn_unused_result));
void splice_drop(struct splice_pipe *pipe);
/* The thread ends. */
void splice_thread_end(void);

#endif
