/* The opening of a WebSocket (RFC 6455 section 4): which request asks for one in good order, what
 * of it goes to the origin, and whether the origin's consent is one. The proxy's own subprotocols
 * (octroi.v1, octroi.bearer.<token>) are taken out here and never reach an origin. A stream of
 * HTTP/2 (RFC 8441) arrives as the same request, with a key that its codec has made. */
#ifndef PROXY_HANDSHAKE_H
#define PROXY_HANDSHAKE_H

#include "services/proxy/exchange.h"
#include "services/proxy/websocket.h"

struct handshake {
    char key[WEBSOCKET_KEY_LEN];
    h2o_iovec_t protocols;         /* what the origin is offered, as a list */
    h2o_iovec_t token;             /* of octroi.bearer; base NULL: none */
    bool tokens;                   /* there was more than one */
    bool octroi;                   /* octroi.v1 was offered */
    bool offered_deflate, deflate; /* permessage-deflate, and that it was agreed */
};

/* After the route is known: sets exchange->handshake where the request opens a WebSocket and the
 * route has them; elsewhere Upgrade is ignored. -1: refused. */
int handshake_begin(struct exchange *exchange) MUST_USE;
/* NULL: the origin's 101 is in order; or what is wrong with it. */
const char *handshake_accepts(struct exchange *exchange, const struct http1_head *head);

#endif
