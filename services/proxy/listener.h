/* Listening sockets: one for each address and worker, sharing the port (SO_REUSEPORT), so that the
 * kernel spreads connections and no lock is needed to accept. */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

#include "services/proxy/peer.h"
#include "services/proxy/timer.h"
#include "services/proxy/worker_private.h"

struct tls_server;

struct listener {
    struct listener *next; /* of the worker */
    struct worker *worker;
    const struct listener_config *config; /* of the worker's generation */
    struct tls_server *tls;               /* of it too; NULL: in the clear */
    int fd;
    h2o_socket_t *sock; /* NULL: not accepting */
    struct timer timer; /* accepts again after descriptors ran out */
};

/* A bound socket; connections come once somebody has called listen. Any thread. */
int listener_bind(const struct listener_config *config, int *fd, struct err *err) MUST_USE;
/* One that has been bound becomes the worker's: on its thread, or before it runs. `index` is that
 * of the listener in the worker's generation. */
struct listener *listener_add(struct worker *worker, size_t index, int fd);
/* The worker has changed to another generation. False: it does not name this listener. */
bool listener_follow(struct listener *listener);
/* On the worker's thread. The worker forgets it when it is closed. */
void listener_start(struct listener *listener);
/* Takes the connections that wait already, and closes. */
void listener_retire(struct listener *listener);
void listener_close(struct listener *listener);

#endif
