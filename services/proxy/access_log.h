/* The access log: a line for each request, or for a share of them, handed to a thread that writes.
 * A loop never waits for it: lines that find no place are dropped and counted. Requests that ended
 * with a refusal or an error of the server are not sampled: they are all written, unless `sample`
 * is 0, which turns the log off. */
#ifndef PROXY_ACCESS_LOG_H
#define PROXY_ACCESS_LOG_H

#include "libcommon/err.h"

#include <stdint.h>

struct access_line;
struct access_log;
struct access_log_config;
struct exchange;
struct worker;

int access_log_new(const struct access_log_config *config, struct access_log **out,
                   struct err *err) MUST_USE;
/* Writes what is left. */
void access_log_free(struct access_log **log);
/* Lines go where the new configuration says; -1: it cannot be opened, nothing has changed. */
int access_log_reload(struct access_log *log, const struct access_log_config *config,
                      struct err *err) MUST_USE;
/* The file was moved away (logrotate). */
void access_log_reopen(struct access_log *log);
/* Lines lost since the start: without a place in the ring, and refused by the file. Any thread. */
uint64_t access_log_dropped(const struct access_log *log);
uint64_t access_log_lost(const struct access_log *log);

/* On the worker's thread, once for an exchange that is over. */
void access_log_write(const struct exchange *exchange);
/* The same for a connection in mode tcp. */
void access_log_tunnel(struct worker *worker, const struct access_log_config *config,
                       const struct access_line *line);

#endif
