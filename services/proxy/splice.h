/* Bytes from one socket to another without a visit to this process, through a pipe. Pipes are
 * borrowed from the thread while something is in them. */
#ifndef PROXY_SPLICE_H
#define PROXY_SPLICE_H

#include <stddef.h>

#define SPLICE_MAX    (256 * 1024) /* in a pipe at a time, where the system allows it */
#define SPLICE_BULK   (32 * 1024)  /* a read of this size: the next ones are spliced */
#define SPLICE_SPARSE (4 * 1024)   /* a splice of less: reads again */

struct splice_pipe {
    int in, out; /* 0, 0: none is borrowed */
    size_t held; /* bytes */
};

/* Moves what `from` has now into the empty pipe, up to max bytes. 0: none; only a read in the usual
 * way tells why: nothing there, its end, an error, no pipe to be had, urgent data (at which splice
 * stops for ever while the socket is readable). */
size_t splice_read(struct splice_pipe *pipe, int from, size_t max);
/* Moves what `to` takes now out of it. -1: the connection is broken. An empty pipe goes back. */
int splice_write(struct splice_pipe *pipe, int to) __attribute__((warn_unused_result));
void splice_drop(struct splice_pipe *pipe);
/* The thread ends. */
void splice_thread_end(void);

#endif
