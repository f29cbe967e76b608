/* Exchanges that live long: the two directions of a WebSocket, and event streams that are sold.
 * They are followed on their way, so that what they use is counted and that their end is clean,
 * whoever wants it: a quota, a revocation, a drain, a peer that breaks the protocol. A WebSocket
 * ends with a close frame between two frames, in both directions; an event stream with an event
 * `octroi.end` that holds the problem. Private to the data plane. */
#ifndef PROXY_STREAM_H
#define PROXY_STREAM_H

#include "services/proxy/exchange.h"

/* After the origin's 101 was found in order. */
void stream_websocket(struct exchange *exchange);
/* With the response's head, before it is passed on: follows it where it is an event stream that is
 * sold, and gives time to every event stream. */
void stream_inspect(struct exchange *exchange, const struct response *response);
/* room_upstream is left. */
void stream_leave(struct exchange *exchange);

/* What exchange_pull, exchange_body and exchange_full are for a stream. */
int stream_pull(struct exchange *exchange, struct piece *piece);
int stream_body(struct exchange *exchange, const struct response *response,
                const struct piece *piece);
bool stream_full(const struct exchange *exchange);
/* Whatever was pulled has been written. */
void stream_written(struct exchange *exchange);

/* Nothing came for too long. */
void stream_idle(struct exchange *exchange);
/* What a room waited for may be there. */
void stream_resume(struct exchange *exchange);
/* A drain has begun: streams end shortly before its deadline. */
void stream_drain_all(struct worker *worker);

#endif
