/* Brings a new connection to the protocol that it speaks. */
#include "services/proxy/ingress.h"

#include "services/proxy/client.h"

void ingress_closed(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    metric_add(priv->stats.connections, -1);
    atomic_fetch_sub_explicit(&priv->proxy->connections, 1, memory_order_relaxed);
}

void ingress_new(struct listener *listener, int fd, const struct sockaddr *sa)
{
    struct worker *worker = listener->worker;
    struct peer peer = {.listener = listener->config};
    metric_add(worker->priv->stats.connections, 1);
    peer_set(&peer, sa);
    client_new(worker, (struct io){.fd = fd}, &peer, NULL, 0);
}
