/* What a line of the access log says, and how: JSON for programs, or the combined format that web
 * servers write. Pure: no clock, no allocation. Never in it: the query, credentials, the query of
 * the page that referred. */
#ifndef PROXY_ACCESS_LINE_H
#define PROXY_ACCESS_LINE_H

#include <h2o.h>
#include <stdbool.h>
#include <stdint.h>

/* Texts that are not there are NULL and are written as null or "-". */
struct access_line {
    h2o_iovec_t client, method, host, path, referer, agent;
    const char *request_id, *trace_id; /* trace_id: 32 characters, without a NUL */
    const char *protocol, *tls, *problem, *route, *pool, *backend;
    unsigned status, attempts;
    uint64_t bytes_in, bytes_out;
    int64_t total_ns;
    int64_t connect_ns, head_ns; /* of the last attempt; -1: it had none */
    bool aborted;
};

/* The texts of a second, made once in it. */
struct access_clock {
    int64_t second;
    char ts[24];  /* log_line_ts */
    char clf[28]; /* "21/Nov/2026:10:00:00 +0000" and NUL */
};

void access_clock_set(struct access_clock *clock, int64_t unix_ms);
/* With its newline; at most `size` bytes. Returns the length. */
size_t access_line_json(const struct access_line *line, const struct access_clock *clock, char *out,
                        size_t size);
size_t access_line_combined(const struct access_line *line, const struct access_clock *clock,
                            char *out, size_t size);

#endif
