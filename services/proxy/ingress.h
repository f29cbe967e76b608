/* From accept() to the protocol: what a connection has to say before its first request. Bounded in
 * number, bytes and time. Then it belongs to client.h, h2.h or tcp.h. */
#ifndef PROXY_INGRESS_H
#define PROXY_INGRESS_H

#include "services/proxy/listener.h"

/* A connection was accepted and is counted in proxy->connections; takes over the descriptor. */
void ingress_new(struct listener *listener, int fd, const struct sockaddr *sa);
/* Whoever took a connection over calls this once, when it is closed. */
void ingress_closed(struct worker *worker);

/* Those on their way: drain closes who has not said a word yet, close_all everybody. */
void ingress_drain_all(struct worker *worker);
void ingress_close_all(struct worker *worker);
/* The buffers of this worker's TLS connections. */
struct tls_thread *ingress_tls(struct worker *worker);

#endif
