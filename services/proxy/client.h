/* A client's HTTP/1.1 connection: reads requests, one at a time, and writes their responses.
 * Private to the data plane. */
#ifndef PROXY_CLIENT_H
#define PROXY_CLIENT_H

#include "services/proxy/exchange.h"
#include "services/proxy/io.h"
#include "services/proxy/listener.h"

enum client_state {
    CLIENT_IDLE,     /* between requests */
    CLIENT_HEAD,     /* a part of a head has come */
    CLIENT_EXCHANGE, /* a request is under way */
    CLIENT_LINGER,   /* answered for the last time; what still comes is thrown away */
    CLIENT_CLOSED,
};

enum client_wait { CLIENT_WAITS_NOT, CLIENT_WAITS_BODY, CLIENT_WAITS_WRITE };

/* Many of them are idle: in an order without holes. */
struct client {
    struct grave grave;
    struct io io;
    struct worker *worker;
    struct client *next, **link; /* all of the worker */
    struct timer timer;
    struct exchange *exchange;
    struct io_queue out;
    struct splice_pipe pipe; /* to be written behind `out` */
    struct io_queue in;      /* read, and not taken yet */
    char *fresh;             /* just read, in the worker's buffer; NULL: all is in `in` */
    struct http1_body body;
    size_t progress; /* bytes since the timer was set */
    unsigned fresh_len, lingered;
    enum client_state state;
    enum client_wait waits_for; /* what the timer bounds during an exchange */
    bool keep;                  /* another request may follow */
    bool chunked;               /* the response is */
    bool unsized;               /* its end is the connection's */
    bool busy;                  /* run() is on the stack */
    bool bulk;                  /* the request's body comes in large pieces */
    bool unread;                /* there is something to read, which client_pull may splice */
    bool paused;                /* not read: `in` is full */
    bool notified;              /* waits for writability */
    bool broken, cut, eof;
    bool read_ended; /* of a tunnel: the client sends no more, it may still read */
    bool first;      /* no request came yet */
    struct peer peer;
};

/* Takes over the connection. `early`: what was read of it already. */
void client_new(struct worker *worker, struct io io, const struct peer *peer, const char *early,
                size_t early_len);
/* Drain: idle ones close, the others after their answer. */
void client_drain_all(struct worker *worker);
void client_close_all(struct worker *worker);

/* The response side (client_response.c). */
extern const struct downstream_ops client_ops;
void client_write(struct client *client, struct iovec *iov, int count);
/* Bytes that the client has not taken yet. */
size_t client_waiting(const struct client *client);
/* Writes what waits. -1: the connection is broken. */
int client_flush(struct client *client) __attribute__((warn_unused_result));
/* After the queue was flushed as far as it goes. */
void client_finish_write(struct client *client);
void client_want_write(struct client *client);
void client_resume(struct client *client);
void client_close(struct client *client);
/* After an exchange: the next request, or the end. */
void client_exchange_done(struct client *client);
int client_pull(struct exchange *exchange, struct piece *piece);
void client_arm(struct client *client);

#endif
