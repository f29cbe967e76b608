/* Deadlines of connections: for http_server.c only. Any thread. */
#ifndef LIBCOMMON_HTTP_SERVER_GUARD_H
#define LIBCOMMON_HTTP_SERVER_GUARD_H

#include <stddef.h>
#include <stdint.h>

struct http_server_guard;
struct http_server_guarded; /* one connection */

/* A phase (reading a request, sending an answer) may take limit_ns. */
struct http_server_guard *http_server_guard_new(int64_t limit_ns);
void http_server_guard_free(struct http_server_guard **guard);

/* The descriptor must stay open until the connection is removed. */
struct http_server_guarded *http_server_guard_add(struct http_server_guard *guard, int fd,
                                                  int64_t now_ns);
void http_server_guard_remove(struct http_server_guard *guard,
                              struct http_server_guarded **guarded);
/* A phase starts now. */
void http_server_guard_arm(struct http_server_guard *guard, struct http_server_guarded *guarded,
                           int64_t now_ns);
/* A handler runs: no deadline. */
void http_server_guard_disarm(struct http_server_guard *guard, struct http_server_guarded *guarded);
/* Shuts down what is late; how many. */
size_t http_server_guard_sweep(struct http_server_guard *guard, int64_t now_ns);

#endif
