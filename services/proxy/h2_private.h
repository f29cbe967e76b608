/* A connection of HTTP/2 and its streams, as the h2 files share them. nghttp2's callbacks only note
 * what happened; exchanges are called from h2_settle alone, when none of their code is on the stack
 * and nghttp2 may be called in turn. */
#ifndef PROXY_H2_PRIVATE_H
#define PROXY_H2_PRIVATE_H

#include "services/proxy/exchange.h"
#include "services/proxy/h2.h"
#include "services/proxy/h2_block.h"
#include "services/proxy/h2_guard.h"

#include <nghttp2/nghttp2.h>

#define H2_STREAMS     100
#define H2_WINDOW      (64 * 1024)  /* of a stream */
#define H2_CONN_WINDOW (256 * 1024) /* of a connection; given back at once below H2_HELD_MAX */
#define H2_HELD_MAX    (256 * 1024) /* bodies that no origin has taken yet */
#define H2_STREAM_HIGH (32 * 1024)  /* more of a response waiting: the origin is not read */
#define H2_STREAM_LOW  (8 * 1024)
#define H2_OUT_SIZE    (96 * 1024) /* frames of a turn, before they are written */
#define H2_OUT_HIGH    (64 * 1024) /* and then they are written before its end */

/* What the timer of a stream watches: the client has to take, or to send. */
enum h2_wait { H2_WAITS_NOT, H2_WAITS_WRITE, H2_WAITS_BODY };

struct h2_stream {
    struct h2 *h2;
    int32_t id;
    struct exchange *exchange;      /* NULL: it is over, what is queued may still leave */
    struct h2_stream *next, **link; /* all of the connection; `next` alone: spare */
    struct h2_stream *touched_next; /* h2_settle is to look at it */
    struct timer timer;
    struct io_queue in, out;
    size_t unreturned; /* of `in`: not given back to the connection's window yet */
    const char *piece; /* of the response, valid during a call: goes before it is queued */
    size_t piece_len;
    uint64_t progress;             /* bytes of what the timer waits for, since it was set */
    uint64_t conn_sent;            /* what the connection had sent then */
    h2o_iovec_t trailers;          /* of the request, in the exchange's pool */
    h2o_iovec_t response_trailers; /* lines; owned */
    bool touched, begun, input, drained, closed;
    bool remote_ended; /* all of the request is here */
    bool ended;        /* the response is complete, but for what is queued */
    bool sent;         /* and to its last byte */
    bool lingers;      /* and the request is not: it is told soon (RST_STREAM NO_ERROR) */
    bool starved;      /* the frames of a turn were full: h2_pump asks again */
    bool throttled;    /* the origin waits for upstream_drained */
    bool pulled;       /* the end of the request was handed on */
    bool tunnel;       /* extended CONNECT */
    enum h2_wait waits_for;
};

enum h2_state { H2_OPEN, H2_LINGER, H2_CLOSED };

struct h2 {
    struct grave grave;
    struct io io;
    enum h2_state state;
    struct worker *worker;
    nghttp2_session *session;
    struct h2 *next, **link; /* all of the worker */
    struct h2 *dirty_next;
    struct timer timer;
    struct h2_stream *streams;
    struct h2_stream *touched, **touched_end;
    size_t stream_count, held; /* held: bytes of bodies in the streams' queues */
    struct h2_block *block;    /* of the header list that is being read */
    char *out;                 /* H2_OUT_SIZE, lent by the worker while there is something in it */
    size_t out_len;
    struct io_queue queue; /* what the socket did not take */
    struct h2_guard guard;
    int64_t since_ms; /* begin of what the timer watches: h2_since */
    uint64_t taken;   /* of `queue`, since then */
    size_t lingered;
    uint32_t error;            /* to close with, where it is failing */
    const char *blame;         /* metric label of the abuse, or NULL */
    uint64_t sent;             /* bytes of responses, of all streams */
    int32_t sent_id;           /* the stream that sent last */
    int32_t last_id, reset_id; /* highest stream that was opened, and that we have reset */
    uint64_t opened;           /* which of the 64 up to last_id were */
    unsigned goaway;           /* steps of the drain taken */
    bool failing;              /* it ends with this turn; nghttp2 is not asked any more */
    bool frame_lent, starved;
    bool dirty, settling, notified, broken, paused, first;
    struct peer peer;
};

/* What the connections of a worker share. */
struct h2_worker {
    struct h2 *connections, *dirty;
    struct h2_stream *spare;
    struct h2_block_spares blocks;
    char *outs[8]; /* spare */
    unsigned spare_count, out_count;
    nghttp2_nv *nva; /* a header list that is being made */
    size_t nva_size;
    void *frame; /* nghttp2's room for a frame that is being made */
};

/* h2_session.c: nghttp2's side */
int h2_session_open(struct h2 *h2, nghttp2_session **out);
/* Moves frames into h2->out until there are no more, or the socket takes no more; writes where it
 * is full. */
void h2_pump(struct h2 *h2);
/* Adds whole frames to those that leave together. */
void h2_gather(struct h2 *h2, const void *data, size_t len);

/* h2_stream.c: the exchanges' side */
struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
void h2_stream_touch(struct h2_stream *stream);
/* The header list in h2->block is complete. */
void h2_stream_head(struct h2_stream *stream);
int h2_stream_pull(struct exchange *exchange, struct piece *piece);
/* Calls the exchanges that something has happened to. */
void h2_settle(struct h2 *h2);
/* Ends all exchanges and frees the streams. */
void h2_stream_end_all(struct h2 *h2);
extern const struct downstream_ops h2_ops; /* h2_respond.c */

/* h2_conn.c: bytes, time, the end */
void h2_mark(struct h2 *h2); /* something is to be written at the end of the turn */
void h2_write(struct h2 *h2);
struct h2_worker *h2_shared(struct worker *worker);
/* Closes the connection at the end of the turn. `blame`: NULL, or what it did. */
void h2_fail(struct h2 *h2, uint32_t error, const char *blame);
void h2_charge(struct h2 *h2, enum h2_cost cost);

/* What the timer watches begins now; a client that does not take what waits for it is watched on.
 */
void h2_since(struct h2 *h2);
/* Bytes that have to pass within an idle time, for it to begin anew. */
uint64_t h2_least(const struct h2 *h2, int64_t idle_ms);

static inline const struct timeouts_config *h2_timeouts(const struct h2 *h2)
{
    return &h2->worker->priv->generation->config->timeouts;
}

#endif
