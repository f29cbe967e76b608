/* A connection to an origin: one exchange at a time, then back to its worker's idle list. Private
 * to the data plane. */
#ifndef PROXY_UPSTREAM_H
#define PROXY_UPSTREAM_H

#include "services/proxy/exchange.h"
#include "services/proxy/io.h"

struct upstream {
    struct grave grave;
    struct io io; /* sock NULL: closed */
    struct worker *worker;
    struct backend *backend;
    unsigned known;            /* version of its addresses when this one was last looked at */
    const struct pool *pool;   /* as the exchange has it; NULL while idle */
    struct exchange *exchange; /* NULL while idle */
    struct timer timer;
    struct upstream *next, **link;          /* all of the worker */
    struct upstream *idle_next, *idle_prev; /* idle ones of the backend */
    bool idle, reused;
    bool connecting;
    bool paused;       /* not read, the client is slow */
    bool notified;     /* waits for writability */
    bool write_broken; /* the origin takes no more; it may still answer */
    bool request_sent; /* to its last byte */
    bool answered;     /* a byte of an answer has come */
    bool head_done;
    bool keep_alive;
    int64_t idle_since_ms, idle_limit_ms;
    bool large; /* the answer's body is */
    bool bulk;  /* and comes in large pieces */
    struct io_queue out;
    struct splice_pipe pipe; /* to be written behind `out` */
    struct io_queue in;      /* an incomplete head */
    struct http1_body body;
};

/* pool side (upstream_pool.c) */
struct upstream *upstream_take(struct worker *worker, const struct pool *pool,
                               struct backend *backend, bool repeatable);
/* NULL: at once refused by the system, errno says why. */
struct upstream *upstream_connect(struct worker *worker, const struct pool *pool,
                                  struct backend *backend);
/* A socket that is being connected to one of the backend's addresses; -1: errno says why not. */
int upstream_socket(struct worker *worker, struct backend *backend);
/* Of such an errno: what we ran out of is not the backend's failure. */
bool upstream_is_shortage(int error);
void upstream_park(struct upstream *upstream);
/* As the present configuration has it: what its files are now might not have verified it. */
bool upstream_trusted(const struct upstream *upstream);
void upstream_close(struct upstream *upstream);
void upstream_close_all(struct worker *worker);

/* upstream_open.c: TCP is connected; upstream_on_connect follows when all is said that comes before
 * a request. */
void upstream_on_open(h2o_socket_t *sock, const char *err);
/* What pool's connections begin with (send_proxy); out holds PROXY_PROTOCOL_WRITE_MAX bytes. 0:
 * nothing. */
size_t upstream_proxy_header(const struct pool *pool, const struct peer *peer, char *out);

/* exchange side (upstream.c): events of a connection that has an exchange */
void upstream_on_read(h2o_socket_t *sock, const char *err);
void upstream_on_connect(h2o_socket_t *sock, const char *err);
void upstream_on_timeout(struct timer *timer);

#endif
