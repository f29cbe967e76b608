/* One number stands for the state of all files. */
#include "services/proxy/file_watch.h"

#include "services/proxy/config.h"

#include <stddef.h>
#include <sys/stat.h>

/* FNV-1a. */
static void mix(uint64_t *stamp, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++, value >>= 8)
        *stamp = (*stamp ^ (value & 0xff)) * 1099511628211U;
}

static void add(uint64_t *stamp, const char *path)
{
    struct stat status;
    if (!path || !path[0])
        return;
    if (stat(path, &status)) {
        mix(stamp, 1);
        return;
    }
    mix(stamp, (uint64_t)status.st_dev);
    mix(stamp, (uint64_t)status.st_ino);
    mix(stamp, (uint64_t)status.st_size);
    mix(stamp, (uint64_t)status.st_mtim.tv_sec);
    mix(stamp, (uint64_t)status.st_mtim.tv_nsec);
}

static void add_listener(uint64_t *stamp, const struct listener_tls_config *tls)
{
    const struct certificate_config *certificates = tls->certificates.items;
    add(stamp, tls->certificate);
    add(stamp, tls->key);
    add(stamp, tls->client_ca);
    for (size_t i = 0; i < tls->certificates.count; i++) {
        add(stamp, certificates[i].certificate);
        add(stamp, certificates[i].key);
    }
}

static void add_pool(uint64_t *stamp, const struct pool_config *pool)
{
    const struct backend_config *backends = pool->backends.items;
    for (size_t i = 0; i < pool->backends.count; i++) {
        const struct backend_tls_config *tls = backends[i].tls;
        if (!tls)
            continue;
        add(stamp, tls->ca);
        add(stamp, tls->certificate);
        add(stamp, tls->key);
    }
}

uint64_t file_watch_stamp(const char *path, const struct proxy_config *config)
{
    const struct listener_config *listeners = config->listeners.items;
    const struct pool_config *pools = config->pools.items;
    uint64_t stamp = 14695981039346656037U;
    add(&stamp, path);
    for (size_t i = 0; i < config->listeners.count; i++)
        if (listeners[i].tls)
            add_listener(&stamp, listeners[i].tls);
    for (size_t i = 0; i < config->pools.count; i++)
        add_pool(&stamp, &pools[i]);
    return stamp ? stamp : 1;
}

void file_watch_know(struct file_watch *watch, uint64_t stamp)
{
    watch->known = stamp;
    watch->pending = 0;
}

bool file_watch_look(struct file_watch *watch, uint64_t stamp)
{
    if (stamp == watch->known) {
        watch->pending = 0;
        return false;
    }
    if (stamp != watch->pending) {
        watch->pending = stamp;
        return false;
    }
    file_watch_know(watch, stamp);
    return true;
}
