/* Puts together what the workers and the registry say, on a thread of the ops listener. */
#include "services/proxy/status.h"

#include "libcommon/clock.h"
#include "libcommon/json.h"
#include "services/proxy/access_log.h"
#include "services/proxy/memory_guard.h"
#include "services/proxy/registry.h"
#include "services/proxy/snapshot.h"
#include "services/proxy/worker_private.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WAIT_MS 1000

static void put(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

static json_t *names_to_counts(const char *const *names, const int64_t *counts, size_t count)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++)
        put(object, names[i], json_integer(counts[i]));
    return object;
}

static json_t *process(const struct proxy *proxy, const struct snapshot_set *set)
{
    int64_t up_ms = clock_mono_ms(&clock_system) - proxy->started_ms;
    return json_pack("{s:s, s:s, s:i, s:I, s:b, s:b}", "service", "proxy", "version",
                     OCTROI_VERSION, "pid", (int)getpid(), "uptime_s", (json_int_t)(up_ms / 1000),
                     "draining", (int)atomic_load(&proxy->draining), "stuck",
                     (int)(set->answered < set->count));
}

/* A worker may be a moment behind: the least version is what all of them work by. */
static json_t *configuration(const struct proxy *proxy, const struct snapshot_set *set)
{
    const char *path = service_config_path(proxy->service);
    unsigned least = 0;
    for (size_t i = 0; i < set->count; i++)
        if (set->of[i] && (least == 0 || set->of[i]->version < least))
            least = set->of[i]->version;
    return json_pack("{s:s?, s:i}", "file", path, "version", (int)least);
}

static json_t *limit(int64_t now, int64_t most)
{
    return json_pack("{s:I, s:I}", "now", (json_int_t)now, "limit", (json_int_t)most);
}

static json_t *limits(struct proxy *proxy, const struct snapshot *any)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    json_t *object = json_object();
    put(object, "connections",
        limit(atomic_load(&proxy->connections), (int64_t)proxy->connection_limit));
    put(object, "in_flight", limit(atomic_load(&proxy->in_flight), any ? any->in_flight_limit : 0));
    struct memory_state memory = memory_guard_state(proxy->memory);
    put(object, "memory", limit(memory.used, memory.limit));
    put(object, "open_files", json_integer((json_int_t)files.rlim_cur));
    return object;
}

static json_t *worker(size_t index, const struct snapshot *snapshot)
{
    static const char *const protocols[STATS_PROTOCOLS] = {"http1", "http2", "websocket", "tcp"};
    if (!snapshot)
        return json_pack("{s:I, s:b}", "index", (json_int_t)index, "stuck", 1);
    json_t *object =
        json_pack("{s:I, s:b, s:I, s:f, s:I}", "index", (json_int_t)index, "stuck", 0, "turns",
                  (json_int_t)snapshot->turns, "lag_ms", (double)snapshot->lag_us / 1000,
                  "in_flight", (json_int_t)snapshot->in_flight);
    put(object, "connections", names_to_counts(protocols, snapshot->connections, STATS_PROTOCOLS));
    return object;
}

static json_t *workers(const struct snapshot_set *set)
{
    json_t *list = json_array();
    for (size_t i = 0; i < set->count; i++)
        json_array_append_new(list, worker(i, set->of[i]));
    return list;
}

static json_t *request(const struct snapshot_request *at)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:i, s:I, s:I}", "id", at->id, "method",
                     at->method, "route", stats_label_name(STATS_ROUTE, at->route), "room",
                     at->room, "age_ms", (json_int_t)at->age_ms, "backend", at->backend, "attempts",
                     (int)at->attempts, "bytes_in", (json_int_t)at->bytes_in, "bytes_out",
                     (json_int_t)at->bytes_out);
}

static int by_age(const void *a, const void *b)
{
    const struct snapshot_request *const *x = a, *const *y = b;
    return ((*x)->age_ms < (*y)->age_ms) - ((*x)->age_ms > (*y)->age_ms);
}

static json_t *oldest(const struct snapshot_set *set)
{
    const struct snapshot_request **all =
        mem_array(set->count * SNAPSHOT_OLDEST + 1, sizeof(struct snapshot_request *));
    json_t *list = json_array();
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++)
        for (size_t j = 0; set->of[i] && j < set->of[i]->oldest_count; j++)
            all[count++] = &set->of[i]->oldest[j];
    qsort(all, count, sizeof(*all), by_age);
    for (size_t i = 0; i < count && i < SNAPSHOT_OLDEST; i++) {
        json_t *one = request(all[i]);
        if (one) /* else what a client sent is no text */
            json_array_append_new(list, one);
    }
    free(all);
    return list;
}

static json_t *requests(const struct snapshot_set *set)
{
    int64_t rooms[SNAPSHOT_ROOMS] = {0}, total = 0;
    const char *names[SNAPSHOT_ROOMS];
    size_t count = room_count < SNAPSHOT_ROOMS ? room_count : SNAPSHOT_ROOMS;
    for (size_t i = 0; i < count; i++)
        names[i] = room_list[i]->name;
    for (size_t i = 0; i < set->count; i++) {
        for (size_t j = 0; set->of[i] && j < SNAPSHOT_ROOMS; j++)
            rooms[j] += (int64_t)set->of[i]->rooms[j];
        total += set->of[i] ? (int64_t)set->of[i]->in_flight : 0;
    }
    json_t *object = json_pack("{s:I}", "in_flight", (json_int_t)total);
    put(object, "by_room", names_to_counts(names, rooms, count));
    put(object, "oldest", oldest(set));
    return object;
}

/* NULL: it stands in no worker's configuration any more. */
static const struct snapshot_backend *place_of(const struct snapshot_set *set, unsigned id,
                                               int64_t *idle)
{
    const struct snapshot_backend *found = NULL;
    *idle = 0;
    for (size_t i = 0; i < set->count; i++) {
        for (size_t j = 0; set->of[i] && j < set->of[i]->backend_count; j++) {
            if (set->of[i]->backends[j].id != id)
                continue;
            found = &set->of[i]->backends[j];
            *idle += found->idle;
        }
    }
    return found;
}

static json_t *backend(const struct backend *at, const struct snapshot_set *set)
{
    int64_t idle, now_ms = clock_mono_ms(&clock_system);
    const struct snapshot_backend *place = place_of(set, at->id, &idle);
    const struct fitness *fitness = &at->fitness;
    json_t *object = json_object();
    put(object, "address", json_string(at->authority.base));
    put(object, "usable", json_boolean(place && place->usable));
    put(object, "resolved", json_boolean(atomic_load(&at->address) != NULL));
    put(object, "health", json_string(atomic_load(&fitness->down) ? "down" : "up"));
    put(object, "breaker", json_string(breaker_state_name(breaker_state(&fitness->breaker))));
    put(object, "ejected", json_boolean(eject_active(&fitness->eject, now_ms)));
    put(object, "in_flight", json_integer(atomic_load(&at->in_flight)));
    put(object, "idle", json_integer(idle));
    if (place) {
        put(object, "weight", json_integer(place->weight));
        put(object, "max_connections", json_integer(place->max_connections));
    } else {
        put(object, "removed", json_true());
    }
    return object;
}

static json_t *pool_named(json_t *pools, const struct pool_state *state)
{
    size_t i;
    json_t *pool;
    json_array_foreach(pools, i, pool)
    {
        if (strcmp(json_string_value(json_object_get(pool, "name")), state->name) == 0)
            return pool;
    }
    pool = json_pack("{s:s, s:b, s:i, s:[]}", "name", state->name, "usable", 0, "waiting",
                     (int)wait_queue_length(&state->queue), "backends");
    json_array_append_new(pools, pool);
    return pool;
}

static json_t *pools(struct proxy *proxy, const struct snapshot_set *set)
{
    struct backend_list list = registry_list(proxy->registry);
    json_t *pools_json = json_array();
    for (size_t i = 0; i < list.count; i++) {
        json_t *pool = pool_named(pools_json, list.items[i]->pool);
        json_t *one = backend(list.items[i], set);
        if (json_is_true(json_object_get(one, "usable")))
            put(pool, "usable", json_true());
        json_array_append_new(json_object_get(pool, "backends"), one);
    }
    registry_drop_list(proxy->registry, &list);
    return pools_json;
}

static json_t *routes(const struct snapshot_set *set)
{
    json_t *list = json_array();
    for (unsigned label = 0; label < STATS_LABELS; label++) {
        struct snapshot_route sum = {0};
        for (size_t i = 0; i < set->count; i++) {
            sum.requests += set->of[i] ? set->of[i]->routes[label].requests : 0;
            sum.errors += set->of[i] ? set->of[i]->routes[label].errors : 0;
        }
        if (sum.requests)
            json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "name",
                                                  stats_label_name(STATS_ROUTE, label), "requests",
                                                  (json_int_t)sum.requests, "errors",
                                                  (json_int_t)sum.errors));
    }
    return list;
}

static const struct snapshot *any_of(const struct snapshot_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->of[i])
            return set->of[i];
    return NULL;
}

static void status_get(struct http_request *http, void *ctx)
{
    struct service *service = ctx;
    if (!service_ops_enter(service, http))
        return;
    struct proxy *proxy = service_state(service);
    AUTO_SNAPSHOT struct snapshot_set set;
    snapshot_take(proxy, WAIT_MS, &set);
    json_t *body = json_object();
    put(body, "process", process(proxy, &set));
    put(body, "configuration", configuration(proxy, &set));
    put(body, "limits", limits(proxy, any_of(&set)));
    put(body, "workers", workers(&set));
    put(body, "requests", requests(&set));
    put(body, "pools", pools(proxy, &set));
    put(body, "routes", routes(&set));
    put(body, "access_log",
        json_pack("{s:I, s:I}", "dropped", (json_int_t)access_log_dropped(proxy->access_log),
                  "lost", (json_int_t)access_log_lost(proxy->access_log)));
    service_ops_leave(service);
    http_reply_json(http, 200, body);
}

unsigned status_check(struct service *service, const char *name, json_t **report)
{
    if (strcmp(name, "upstream") != 0)
        return 0;
    AUTO_SNAPSHOT struct snapshot_set set;
    snapshot_take(service_state(service), WAIT_MS, &set);
    const struct snapshot *snapshot = any_of(&set);
    if (!snapshot) {
        *report = json_pack("{s:s}", "status", "stuck");
        return 503;
    }
    if (snapshot->empty_pool == STATS_LABEL_NONE) {
        *report = json_pack("{s:s}", "status", "ok");
        return 200;
    }
    *report = json_pack("{s:s, s:s}", "status", "no usable backend", "pool",
                        stats_label_name(STATS_POOL, snapshot->empty_pool));
    return 503;
}

const struct http_route status_routes[STATUS_ROUTES] = {
    {"GET", "/status", status_get, HTTP_NO_STORE, 0},
};
