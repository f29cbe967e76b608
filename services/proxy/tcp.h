/* Listeners of `mode: tcp`: a connection is carried to a backend of the listener's pool, byte for
 * byte, each direction to its own end. Chosen, limited and reported as for requests; another
 * backend is tried while no byte has been sent. Private to the data plane. */
#ifndef PROXY_TCP_H
#define PROXY_TCP_H

#include "services/proxy/io.h"
#include "services/proxy/peer.h"
#include "services/proxy/worker_private.h"

/* Takes over the connection. `early`: what was read of it already. */
void tcp_new(struct worker *worker, struct io io, const struct peer *peer, const char *early,
             size_t early_len);
void tcp_close_all(struct worker *worker);

#endif
