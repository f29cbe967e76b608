/* Listening sockets: one for each address and worker, sharing the port (SO_REUSEPORT), so that the
 * kernel spreads connections and no lock is needed to accept. */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

#include "services/proxy/peer.h"
#include "services/proxy/timer.h"
#include "services/proxy/worker_private.h"

struct tls_server;

struct listener {
    struct worker *worker;
    const struct listener_config *config; /* of the worker's generation */
    struct tls_server *tls;               /* of it too; NULL: in the clear */
    int fd;
    h2o_socket_t *sock; /* NULL: not accepting */
    struct timer timer; /* accepts again after descriptors ran out */
};

/* Binds; the loop does not know of it yet. */
int listener_open(struct listener *listener, struct worker *worker,
                  const struct listener_config *config, struct err *err) MUST_USE;
/* On the worker's thread. */
void listener_start(struct listener *listener);
void listener_close(struct listener *listener);

#endif
