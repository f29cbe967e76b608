/* The HTTP side of a request: what was read from the client, what an origin said, and how far both
 * are. Downstream (an HTTP/1.1 connection, later an HTTP/2 stream) stands behind a table of
 * operations; upstream and the rooms know no more of it. Private to the data plane. */
#ifndef PROXY_EXCHANGE_H
#define PROXY_EXCHANGE_H

#include "services/proxy/balance.h"
#include "services/proxy/header_edit.h"
#include "services/proxy/peer.h"
#include "services/proxy/replay.h"
#include "services/proxy/request.h"
#include "services/proxy/retry.h"
#include "services/proxy/splice.h"
#include "services/proxy/trace.h"
#include "services/proxy/worker_private.h"

#define BODY_BULK (256 * 1024) /* a body of this length may be spliced */

/* A piece of a body on its way; valid during the call. */
struct piece {
    char *data; /* NULL: in a pipe */
    size_t len;
    bool end;
    h2o_iovec_t trailers; /* lines with CRLF; with the end only */
    /* Of a piece that is asked for: whoever can may put it here instead, at most SPLICE_MAX. NULL:
     * not wanted. */
    struct splice_pipe *pipe;
};

struct response {
    unsigned status;
    const struct http1_head *head; /* the origin's; NULL: made here */
    h2o_iovec_t lines;             /* header lines made here, with CRLF */
    enum http1_body_kind body;     /* BODY_LENGTH: `length`; CHUNKED or CLOSE: not known before */
    uint64_t length;
};

struct downstream_ops {
    void (*interim)(struct exchange *exchange, const struct response *response);
    /* The head, with the first piece of the body. */
    void (*respond)(struct exchange *exchange, const struct response *response,
                    const struct piece *piece);
    void (*body)(struct exchange *exchange, const struct piece *piece);
    /* Where the next piece may be put, for body() to find it there; NULL, or it gives NULL: it is
     * wanted in memory. */
    struct splice_pipe *(*pipe)(struct exchange *exchange);
    /* The client takes more slowly than the origin sends: upstream_drained() follows. */
    bool (*full)(struct exchange *exchange);
    /* 1: a piece of the request's body; 0: none now, upstream_body_ready() follows; -1: malformed.
     */
    int (*pull)(struct exchange *exchange, struct piece *piece);
    /* The response cannot be completed. */
    void (*cut)(struct exchange *exchange);
    /* The exchange is over: the last call. */
    void (*done)(struct exchange *exchange);
};

struct exchange {
    struct request request; /* first */
    struct grave grave;
    struct exchange *next_spare;
    struct exchange *live_next, **live_link; /* under way; the newest first */
    const struct generation *generation;     /* the configuration that it began with */
    const struct downstream_ops *ops;
    void *downstream;
    size_t depth; /* rooms entered */
    bool walking, gone, finished;

    struct http1_head head;
    h2o_iovec_t method, path, query, host; /* path and host in normal form; query with its mark */
    unsigned method_id;                    /* stats_method */
    bool is_head, idempotent;
    enum http1_body_kind body;
    uint64_t body_length, body_limit; /* limit 0: none */
    bool body_ended;
    struct http1_error malformed; /* of the codec: refused by admit */
    const struct peer *peer;      /* who connected; of the connection */
    bool tls;                     /* the client speaks TLS to us */
    bool http2;                   /* and HTTP/2; `head` is the same request in HTTP/1.1 */
    struct address client;        /* on whose behalf */
    bool trusted;
    bool forwarded_broken; /* its Forwarded is malformed */
    bool secure;           /* the client speaks TLS, to us or to a proxy that we trust */
    bool preflight;        /* a browser's question, answered here */
    char id[33];
    const char *id_text;
    struct trace trace;
    const struct added_header *upstream_headers, *response_headers;
    struct handshake *handshake; /* NULL: no WebSocket is asked for */
    struct stream *stream;       /* what is followed to its end; NULL: an ordinary exchange */
    bool tunnel;                 /* switched: both bodies are BODY_TUNNEL */
    bool patient;                /* it may be silent for long: tunnel_idle bounds it */

    bool responded; /* its head is on the way */
    unsigned status;
    struct backend *backend; /* chosen by balance */
    struct place place;
    struct waiting *waiting; /* in the pool's queue (room_balance.c) */
    struct timer timer;      /* of balance and upstream, while there is no connection */
    struct timer deadline;   /* timeouts.request */
    struct upstream *upstream;
    unsigned attempts, interims;
    struct retry_state retry;
    struct replay replay;
    void (*collect)(struct exchange *exchange);   /* a room reads the body; NULL: none */
    bool admitted;                                /* counted in proxy->in_flight */
    bool sent_any;                                /* a byte went to some origin */
    bool fresh;                                   /* no reused connection in the next attempt */
    int64_t start_ns, upstream_ns, first_byte_ns; /* 0: not yet */
    int64_t attempt_ns;
    int64_t connect_ns, head_ns; /* durations in the last attempt; -1: none */
};

/* `method`, head and so on are filled by downstream before exchange_start. */
struct exchange *exchange_new(struct worker *worker, const struct downstream_ops *ops,
                              void *downstream);
/* `head`, in the request's pool with its fields, and what follows from it. */
void exchange_set_head(struct exchange *exchange, const struct http1_head *head);
void exchange_start(struct exchange *exchange);
/* Instead of exchange_start: it has never been. */
void exchange_discard(struct exchange *exchange);
/* The client is away. */
void exchange_gone(struct exchange *exchange);

/* For upstream: through these both directions are counted, bounded and shown to the rooms. */
int exchange_pull(struct exchange *exchange, struct piece *piece);
/* Payload is counted and shown to the rooms. -1: one of them refused. */
int exchange_count(struct exchange *exchange, enum room_direction direction,
                   const struct piece *piece);
/* How much of a body of which so much is left may be spliced at once. */
size_t exchange_splice_most(const struct exchange *exchange, uint64_t left);
void exchange_interim(struct exchange *exchange, const struct response *response);
/* As exchange_body. */
int exchange_respond(struct exchange *exchange, const struct response *response,
                     const struct piece *piece);
/* 1: the exchange was ended well before the origin's end. */
int exchange_body(struct exchange *exchange, const struct piece *piece);
/* The origin is not to be read now; upstream_drained() follows. */
bool exchange_full(struct exchange *exchange);
/* Not from within enter: leaves balance and upstream, and enters them again. */
void exchange_again(struct exchange *exchange);

/* A room's own answer; return ROOM_DONE after it. `lines` as in struct response. */
void exchange_answer(struct exchange *exchange, unsigned status, h2o_iovec_t lines,
                     h2o_iovec_t body);

/* upstream.c, called by downstream. */
void upstream_body_ready(struct exchange *exchange);
void upstream_drained(struct exchange *exchange);
/* What was pulled waits in a pipe for the origin: nothing more should be read. */
bool upstream_piped(const struct exchange *exchange);
/* Bytes of our own in a tunnel, and its end towards the origin. */
void upstream_inject(struct exchange *exchange, char *data, size_t len);
void upstream_half_close(struct exchange *exchange);

/* dress.c: what the route adds to an answer; before it is written. */
void exchange_dress(struct exchange *exchange, const struct response *response);
/* debug_headers.c: which way a request took, where the configuration asks for it. */
void debug_headers(struct exchange *exchange);
/* refusal.c: the one place where refusals are written. */
void refusal_write(struct exchange *exchange);

/* Appends to a head that is built in the worker's scratch. */
struct head_writer {
    char *start, *at, *end;
    bool overflow;
};

struct head_writer head_begin(struct worker *worker);
void head_add(struct head_writer *writer, const char *data, size_t len);
void head_puts(struct head_writer *writer, const char *text);
void head_number(struct head_writer *writer, uint64_t number);
void head_line(struct head_writer *writer, const char *name, h2o_iovec_t value);
/* The fields that are not dropped, in runs. */
void head_fields(struct head_writer *writer, const struct http1_head *head);
void head_added(struct head_writer *writer, const struct added_header *list);
/* forward.c: the request's head as the origin sees it. */
void forward_head(struct exchange *exchange, struct head_writer *writer);

#endif
