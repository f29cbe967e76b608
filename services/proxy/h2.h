/* HTTP/2 towards clients (RFC 9113), on nghttp2. A connection holds streams; each is an exchange of
 * its own behind the same downstream_ops as a request of HTTP/1.1. What a turn of the loop makes
 * leaves together at its end. */
#ifndef PROXY_H2_H
#define PROXY_H2_H

#include "services/proxy/io.h"
#include "services/proxy/peer.h"
#include "services/proxy/worker.h"

#define H2_PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_PREFACE_LEN 24

struct h2_worker;

/* Takes over the connection. `early`: what was read of it already, the preface included. */
void h2_new(struct worker *worker, struct io io, const struct peer *peer, const char *early,
            size_t early_len);
/* At the end of a loop turn, before its graves are closed: writes what the turn made. */
void h2_turn_end(struct worker *worker);
/* Drain: a warning, then no new streams; each connection closes after its last one. */
void h2_drain_all(struct worker *worker);
void h2_close_all(struct worker *worker);
/* After h2_close_all and the last grave. */
void h2_worker_free(struct h2_worker **shared);

#endif
