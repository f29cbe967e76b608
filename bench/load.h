/* The load generator of the benchmarks: what its two halves share. load.c decides when a request
 * is due and counts; load_conn.c owns the connections and speaks HTTP/1.1, TLS, WebSocket and as
 * much HTTP/2 as an idle connection needs. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum load_mode {
    LOAD_HTTP,      /* requests on connections that are kept */
    LOAD_HANDSHAKE, /* one request, then a new connection */
    LOAD_WEBSOCKET, /* messages that are echoed */
    LOAD_UPLOAD,    /* as HTTP, with a body of `bytes` */
    LOAD_IDLE,      /* one request each, then held until standard input ends */
};

struct load_options {
    enum load_mode mode;
    const char *address, *path, *header;
    size_t connections;
    double seconds, warmup;
    double rate;    /* requests a second, whatever comes back; 0: as fast as they are answered */
    uint64_t count; /* ends after as many requests; 0: after `seconds` */
    uint64_t bytes; /* of an upload or a message */
    unsigned paths; /* a number below it is added to the path */
    bool tls, resume, http2;
    const char *bodies; /* file whose lines are posted in turn, as JSON; empty: none */
    const char *status; /* that every answer must have */
};

enum load_state {
    LOAD_CLOSED,
    LOAD_CONNECTING,
    LOAD_SHAKING,
    LOAD_UPGRADING,
    LOAD_FREE,
    LOAD_BUSY
};

#define LOAD_HEAD 4096

struct load_conn {
    int fd;
    SSL *ssl;
    SSL_SESSION *session; /* for the next connection in this place */
    enum load_state state;
    bool writing, in_head;
    int64_t opened_ns, due_ns; /* due: when its request should have been sent */
    uint64_t body_left, upload_left;
    size_t len; /* of head */
    uint8_t head[LOAD_HEAD];
    struct load_conn *next_free;
};

extern struct load_options load_options;

/* load.c: what became of a request or a connection. */
void load_ready(struct load_conn *conn);
void load_done(struct load_conn *conn, bool close);
void load_lost(struct load_conn *conn, const char *why);
void load_resumed(void);
/* The next body to post; empty: none. */
const char *load_body(size_t *len);

/* load_conn.c */
void load_conn_init(int epoll);
void load_conn_open(struct load_conn *conn);
void load_conn_close(struct load_conn *conn);
void load_conn_event(struct load_conn *conn, uint32_t events);
void load_conn_request(struct load_conn *conn);

#endif
