/* What a worker keeps of its configuration is changed over here: buffers by limits, slots of
 * backends, idle connections of those that are gone or not trusted any more, listeners. */
#include "services/proxy/adopt.h"

#include "libcommon/mem.h"
#include "services/proxy/listener.h"
#include "services/proxy/upstream.h"

#include <string.h>

/* Beyond a head that was read: what is added to it; also a piece of a stream that was held back. */
#define SCRATCH_EXTRA WORKER_BUFFER

/* A listener that is new to this worker. */
struct arrival {
    size_t index; /* of the listener in the generation */
    int fd;
};

struct adoption {
    struct worker_message message; /* first */
    const struct generation *generation;
    size_t count;
    struct arrival arrivals[];
};

static void follow_limits(struct worker_private *priv)
{
    const struct limits_config *limits = &priv->generation->config->limits;
    priv->limits = (struct http1_limits){.head_bytes = (size_t)limits->header_bytes,
                                         .fields = (size_t)limits->headers,
                                         .target_bytes = (size_t)limits->uri_bytes};
    priv->scratch_size = priv->limits.head_bytes + SCRATCH_EXTRA;
    priv->scratch = mem_resize(priv->scratch, priv->scratch_size, 1);
    priv->fields = mem_resize(priv->fields, priv->limits.fields, sizeof(*priv->fields));
}

static void follow_backends(struct worker_private *priv)
{
    const struct pool_set *pools = priv->generation->pools;
    if (pools->backend_limit > priv->backend_count) {
        size_t added = pools->backend_limit - priv->backend_count;
        priv->backends = mem_resize(priv->backends, pools->backend_limit, sizeof(*priv->backends));
        memset(priv->backends + priv->backend_count, 0, added * sizeof(*priv->backends));
        priv->backend_count = pools->backend_limit;
    }
    for (size_t i = 0; i < priv->backend_count; i++) {
        priv->backends[i].pool = NULL;
        priv->backends[i].tls = NULL;
    }
    for (size_t i = 0; i < pools->count; i++) {
        for (size_t j = 0; j < pools->pools[i].count; j++) {
            const struct member *member = &pools->pools[i].members[j];
            struct backend_slot *slot = &priv->backends[member->backend->id];
            slot->pool = &pools->pools[i];
            slot->tls = member->tls;
        }
    }
}

static void close_untrusted(struct backend_slot *slot)
{
    struct upstream *next;
    for (struct upstream *upstream = slot->idle; upstream; upstream = next) {
        next = upstream->idle_next;
        if (!upstream_trusted(upstream))
            upstream_close(upstream);
    }
}

/* A slot that no configuration uses is as new: its id may come to stand for another backend. */
static void close_idle(struct worker_private *priv)
{
    for (size_t i = 0; i < priv->backend_count; i++) {
        struct backend_slot *slot = &priv->backends[i];
        if (slot->pool) {
            close_untrusted(slot);
            continue;
        }
        while (slot->idle)
            upstream_close(slot->idle);
        slot->current_weight = 0;
    }
}

static void follow_listeners(struct worker *worker)
{
    struct listener *next;
    for (struct listener *listener = worker->priv->listeners; listener; listener = next) {
        next = listener->next;
        if (!listener_follow(listener))
            listener_retire(listener);
    }
}

static void add_listeners(struct worker *worker, const struct adoption *adoption)
{
    for (size_t i = 0; i < adoption->count; i++)
        listener_start(listener_add(worker, adoption->arrivals[i].index, adoption->arrivals[i].fd));
}

static void run(struct worker *worker, struct worker_message *message)
{
    struct adoption *adoption = H2O_STRUCT_FROM_MEMBER(struct adoption, message, message);
    const struct generation *old = worker->priv->generation;
    adopt_first(worker, adoption->generation);
    follow_listeners(worker);
    add_listeners(worker, adoption);
    generation_drop(old, worker->index);
    free(adoption);
}

void adopt_first(struct worker *worker, const struct generation *generation)
{
    worker->priv->generation = generation;
    generation_hold(generation, worker->index);
    follow_limits(worker->priv);
    follow_backends(worker->priv);
    close_idle(worker->priv);
}

void adopt_send(struct worker *worker, const struct generation *generation,
                const struct sockets *added)
{
    struct adoption *adoption =
        mem_zalloc(sizeof(*adoption) + added->count * sizeof(adoption->arrivals[0]));
    adoption->message.run = run;
    adoption->generation = generation;
    for (size_t i = 0; i < added->count; i++) {
        if (added->rows[i].worker != worker->index)
            continue;
        adoption->arrivals[adoption->count++] = (struct arrival){
            generation_listener(generation, added->rows[i].address), added->rows[i].fd};
    }
    worker_send(worker, &adoption->message);
}
