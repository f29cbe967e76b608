/* A hash of backends and one of pools under one lock; ids come from the lowest that is free, so
 * that what is indexed by them stays small. */
#include "services/proxy/registry.h"

#include "services/proxy/stats.h"

#include "libcommon/buf.h"
#include "libcommon/mem.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#define SLOTS 1024

struct ids {
    bool *taken;
    unsigned size, lowest; /* all below `lowest` are taken */
};

struct registry {
    pthread_mutex_t lock;
    struct backend *backends[SLOTS];
    struct pool_state *pools[SLOTS];
    size_t backend_count;
    struct ids backend_ids, pool_ids;
};

static unsigned id_take(struct ids *ids)
{
    unsigned id = ids->lowest;
    while (id < ids->size && ids->taken[id])
        id++;
    if (id == ids->size) {
        ids->size = ids->size * 2 + 16;
        ids->taken = mem_resize(ids->taken, ids->size, sizeof(*ids->taken));
        memset(ids->taken + id, 0, (ids->size - id) * sizeof(*ids->taken));
    }
    ids->taken[id] = true;
    ids->lowest = id + 1;
    return id;
}

static void id_give_back(struct ids *ids, unsigned id)
{
    ids->taken[id] = false;
    if (id < ids->lowest)
        ids->lowest = id;
}

/* FNV-1a. */
static size_t slot_of(const char *key, size_t len)
{
    uint64_t hash = 14695981039346656037U;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)key[i]) * 1099511628211U;
    return (size_t)(hash ^ (hash >> 32)) % SLOTS;
}

struct registry *registry_new(void)
{
    struct registry *registry = mem_zalloc(sizeof(*registry));
    pthread_mutex_init(&registry->lock, NULL);
    return registry;
}

void registry_free(struct registry **registry)
{
    if (!*registry)
        return;
    assert((*registry)->backend_count == 0);
    pthread_mutex_destroy(&(*registry)->lock);
    free((*registry)->backend_ids.taken);
    free((*registry)->pool_ids.taken);
    free(*registry);
    *registry = NULL;
}

static struct pool_state *pool_get(struct registry *registry, const char *name)
{
    struct pool_state **slot = &registry->pools[slot_of(name, strlen(name))];
    struct pool_state *pool = *slot;
    while (pool && strcmp(pool->name, name) != 0)
        pool = pool->next;
    if (pool)
        return pool;
    pool = mem_zalloc(sizeof(*pool));
    pool->id = id_take(&registry->pool_ids);
    pool->name = mem_strdup(name);
    wait_queue_init(&pool->queue);
    pool->label = stats_label(STATS_POOL, name);
    pool->next = *slot;
    *slot = pool;
    return pool;
}

struct pool_state *registry_pool(struct registry *registry, const char *name)
{
    pthread_mutex_lock(&registry->lock);
    struct pool_state *pool = pool_get(registry, name);
    pool->refs++;
    pthread_mutex_unlock(&registry->lock);
    return pool;
}

static void pool_put(struct registry *registry, struct pool_state *pool)
{
    if (--pool->refs > 0)
        return;
    struct pool_state **at = &registry->pools[slot_of(pool->name, strlen(pool->name))];
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    id_give_back(&registry->pool_ids, pool->id);
    wait_queue_destroy(&pool->queue);
    free(pool->name);
    free(pool);
}

void registry_release_pool(struct registry *registry, struct pool_state *pool)
{
    pthread_mutex_lock(&registry->lock);
    pool_put(registry, pool);
    pthread_mutex_unlock(&registry->lock);
}

static void key_of(const struct pool_state *pool, const struct backend_config *config,
                   unsigned repetition, struct buf *key)
{
    static const struct backend_tls_config none = {"", "", "", ""};
    const struct backend_tls_config *tls = config->tls ? config->tls : &none;
    const char *const parts[] = {pool->name,       config->url,      tls->ca,
                                 tls->server_name, tls->certificate, tls->key};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        buf_add(key, parts[i], strlen(parts[i]) + 1);
    buf_printf(key, "%u", repetition);
}

static struct backend *find(struct registry *registry, const struct buf *key)
{
    struct backend *backend = registry->backends[slot_of(key->data, key->len)];
    while (backend &&
           (backend->key.len != key->len || memcmp(backend->key.base, key->data, key->len) != 0))
        backend = backend->next;
    return backend;
}

static int add(struct registry *registry, struct pool_state *pool,
               const struct backend_config *config, struct buf *key, struct backend **out,
               struct err *err)
{
    struct backend *backend = mem_zalloc(sizeof(*backend));
    struct backend **slot = &registry->backends[slot_of(key->data, key->len)];
    if (backend_init(backend, config, err)) {
        backend_clear(backend);
        free(backend);
        return -1;
    }
    backend->key.len = key->len;
    backend->key.base = buf_steal(key);
    backend->id = id_take(&registry->backend_ids);
    backend->pool = pool;
    pool->refs++;
    backend->next = *slot;
    *slot = backend;
    registry->backend_count++;
    *out = backend;
    return 0;
}

int registry_backend(struct registry *registry, struct pool_state *pool,
                     const struct backend_config *config, unsigned repetition, struct backend **out,
                     struct err *err)
{
    AUTO_BUF struct buf key = {0};
    int result = 0;
    key_of(pool, config, repetition, &key);
    pthread_mutex_lock(&registry->lock);
    *out = find(registry, &key);
    if (!*out)
        result = add(registry, pool, config, &key, out, err);
    if (result == 0)
        (*out)->refs++;
    pthread_mutex_unlock(&registry->lock);
    return result;
}

static void put(struct registry *registry, struct backend *backend)
{
    if (--backend->refs > 0)
        return;
    struct backend **at = &registry->backends[slot_of(backend->key.base, backend->key.len)];
    while (*at != backend)
        at = &(*at)->next;
    *at = backend->next;
    registry->backend_count--;
    id_give_back(&registry->backend_ids, backend->id);
    pool_put(registry, backend->pool);
    backend_clear(backend);
    free(backend);
}

void registry_release(struct registry *registry, struct backend *backend)
{
    pthread_mutex_lock(&registry->lock);
    put(registry, backend);
    pthread_mutex_unlock(&registry->lock);
}

struct backend_list registry_list(struct registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    struct backend_list list = {
        .items = mem_array(registry->backend_count + 1, sizeof(struct backend *))};
    for (size_t i = 0; i < SLOTS; i++) {
        for (struct backend *backend = registry->backends[i]; backend; backend = backend->next) {
            backend->refs++;
            list.items[list.count++] = backend;
        }
    }
    pthread_mutex_unlock(&registry->lock);
    return list;
}

void registry_drop_list(struct registry *registry, struct backend_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        registry_release(registry, list->items[i]);
    free(list->items);
    *list = (struct backend_list){NULL, 0};
}
