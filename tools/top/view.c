/* Owns how the page looks: one function a section. */
#include "tools/top/view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 64

static double number(const json_t *object, const char *key)
{
    double value = json_number_value(json_object_get(object, key));
    return value > -1e15 && value < 1e15 ? value : 0;
}

/* Printable ASCII of at most `width` bytes, the rest of the name is left out. */
static const char *text(const json_t *object, const char *key, unsigned width, char *out)
{
    const char *value = json_string_value(json_object_get(object, key));
    unsigned at = 0;

    width = width < NAME_MAX_BYTES - 1 ? width : NAME_MAX_BYTES - 1;
    for (; value != NULL && value[at] != '\0' && at < width; at++)
        out[at] = value[at] >= 0x20 && value[at] < 0x7f ? value[at] : '?';
    if (value == NULL)
        out[at++] = '-';
    out[at] = '\0';
    return out;
}

/* One line, cut at the right edge. */
static void line(struct buf *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void line(struct buf *out, const char *fmt, ...)
{
    char data[VIEW_COLUMNS + 1];
    va_list args;

    va_start(args, fmt);
    vsnprintf(data, sizeof(data), fmt, args);
    va_end(args);
    buf_puts(out, data);
    buf_putc(out, '\n');
}

/* The member of a list whose `key` says the same. */
static const json_t *same(const json_t *list, const char *key, const json_t *as)
{
    const char *name = json_string_value(json_object_get(as, key));

    for (size_t i = 0; name != NULL && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *other = json_string_value(json_object_get(item, key));
        if (other != NULL && strcmp(name, other) == 0)
            return item;
    }
    return NULL;
}

static double rate(const struct view *view, double now, double before)
{
    double grown = now - before;

    return view->before != NULL && view->seconds > 0 && grown > 0 ? grown / view->seconds : 0;
}

static double total(const json_t *status, const char *list, const char *key)
{
    const json_t *items = json_object_get(status, list);
    double sum = 0;

    for (size_t i = 0; i < json_array_size(items); i++)
        sum += number(json_array_get(items, i), key);
    return sum;
}

static void head(const struct view *view, struct buf *out)
{
    const json_t *process = json_object_get(view->now, "process");
    double uptime = number(process, "uptime_s");
    unsigned up = uptime > 0 && uptime < 4e9 ? (unsigned)uptime : 0;
    char version[NAME_MAX_BYTES], service[NAME_MAX_BYTES];
    const char *state = "serving";

    if (json_is_true(json_object_get(process, "draining")))
        state = "DRAINING";
    if (json_is_true(json_object_get(process, "stuck")))
        state = "A LOOP IS STUCK";
    line(out, "octroi %s %s   pid %.0f   up %ud %02u:%02u:%02u   %s",
         text(process, "service", 16, service), text(process, "version", 16, version),
         number(process, "pid"), up / 86400, up / 3600 % 24, up / 60 % 60, up % 60, state);
}

static void load(const struct view *view, struct buf *out)
{
    const json_t *limits = json_object_get(view->now, "limits");
    const json_t *connections = json_object_get(limits, "connections");
    const json_t *in_flight = json_object_get(limits, "in_flight");
    double requests = total(view->now, "routes", "requests");
    double errors = total(view->now, "routes", "errors");

    line(out, "requests %10.1f/s   5xx %8.1f/s   in flight %.0f of %.0f   connections %.0f of %.0f",
         rate(view, requests, total(view->before, "routes", "requests")),
         rate(view, errors, total(view->before, "routes", "errors")), number(in_flight, "now"),
         number(in_flight, "limit"), number(connections, "now"), number(connections, "limit"));
}

static void rooms(const struct view *view, struct buf *out)
{
    const json_t *by_room = json_object_get(json_object_get(view->now, "requests"), "by_room");
    char data[VIEW_COLUMNS + 1] = "rooms   ";
    size_t len = strlen(data);
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)by_room, name, value)
    {
        char safe[NAME_MAX_BYTES];
        json_t *holder = json_pack("{s:s}", "name", name);
        text(holder, "name", 16, safe);
        json_decref(holder);
        if (len < sizeof(data))
            len += (size_t)snprintf(data + len, sizeof(data) - len, " %s %.0f", safe,
                                    json_number_value(value));
    }
    line(out, "%s", data);
}

static void workers(const struct view *view, struct buf *out)
{
    const json_t *list = json_object_get(view->now, "workers");
    const json_t *old = json_object_get(view->before, "workers");

    line(out, "%s", "");
    line(out, "%-8s %9s %8s %9s %7s %7s %9s %7s", "WORKER", "TURNS/S", "LAG MS", "IN FLIGHT",
         "HTTP1", "HTTP2", "WEBSOCKET", "TCP");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *worker = json_array_get(list, i);
        const json_t *connections = json_object_get(worker, "connections");
        if (json_is_true(json_object_get(worker, "stuck")))
            line(out, "%-8.0f STUCK", number(worker, "index"));
        else
            line(out, "%-8.0f %9.0f %8.2f %9.0f %7.0f %7.0f %9.0f %7.0f", number(worker, "index"),
                 rate(view, number(worker, "turns"), number(json_array_get(old, i), "turns")),
                 number(worker, "lag_ms"), number(worker, "in_flight"),
                 number(connections, "http1"), number(connections, "http2"),
                 number(connections, "websocket"), number(connections, "tcp"));
    }
}

static const char *backend_state(const json_t *backend)
{
    const char *breaker = json_string_value(json_object_get(backend, "breaker"));
    const char *health = json_string_value(json_object_get(backend, "health"));

    if (json_is_true(json_object_get(backend, "removed")))
        return "removed";
    if (json_is_false(json_object_get(backend, "resolved")))
        return "no address";
    if (health != NULL && strcmp(health, "up") != 0)
        return "DOWN";
    if (json_is_true(json_object_get(backend, "ejected")))
        return "EJECTED";
    if (breaker != NULL && strcmp(breaker, "open") == 0)
        return "OPEN";
    if (breaker != NULL && strcmp(breaker, "closed") != 0)
        return "half-open";
    return "up";
}

static void pool(const json_t *at, struct buf *out)
{
    const json_t *backends = json_object_get(at, "backends");
    char name[NAME_MAX_BYTES], address[NAME_MAX_BYTES];

    for (size_t i = 0; i < json_array_size(backends); i++) {
        const json_t *backend = json_array_get(backends, i);
        line(out, "%-16s %-28s %-10s %9.0f %6.0f %6.0f", text(at, "name", 16, name),
             text(backend, "address", 28, address), backend_state(backend),
             number(backend, "in_flight"), number(backend, "idle"), number(backend, "weight"));
    }
    if (number(at, "waiting") > 0)
        line(out, "%-16s %.0f requests wait for a place", text(at, "name", 16, name),
             number(at, "waiting"));
}

static void pools(const struct view *view, struct buf *out)
{
    const json_t *list = json_object_get(view->now, "pools");

    line(out, "%s", "");
    line(out, "%-16s %-28s %-10s %9s %6s %6s", "POOL", "BACKEND", "STATE", "IN FLIGHT", "IDLE",
         "WEIGHT");
    for (size_t i = 0; i < json_array_size(list); i++)
        pool(json_array_get(list, i), out);
}

static void requests(const struct view *view, struct buf *out)
{
    const json_t *list = json_object_get(json_object_get(view->now, "requests"), "oldest");
    char method[NAME_MAX_BYTES], route[NAME_MAX_BYTES], room[NAME_MAX_BYTES],
        backend[NAME_MAX_BYTES];

    line(out, "%s", "");
    line(out, "%10s %-7s %-22s %-9s %-21s %6s", "AGE", "METHOD", "ROUTE", "ROOM", "BACKEND", "MIB");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *at = json_array_get(list, i);
        line(out, "%9.1fs %-7s %-22s %-9s %-21s %6.1f", number(at, "age_ms") / 1000,
             text(at, "method", 7, method), text(at, "route", 22, route), text(at, "room", 9, room),
             text(at, "backend", 21, backend),
             (number(at, "bytes_in") + number(at, "bytes_out")) / 1048576);
    }
}

static void routes(const struct view *view, struct buf *out)
{
    const json_t *list = json_object_get(view->now, "routes");
    const json_t *old = json_object_get(view->before, "routes");
    char name[NAME_MAX_BYTES];

    line(out, "%s", "");
    line(out, "%-40s %10s %9s %14s", "ROUTE", "REQUESTS/S", "5XX/S", "REQUESTS");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *route = json_array_get(list, i);
        const json_t *before = same(old, "name", route);
        line(out, "%-40s %10.1f %9.1f %14.0f", text(route, "name", 40, name),
             rate(view, number(route, "requests"), number(before, "requests")),
             rate(view, number(route, "errors"), number(before, "errors")),
             number(route, "requests"));
    }
}

/* Keeps the first `rows` lines. */
static void cut(struct buf *out, unsigned rows)
{
    char *at = out->data;

    for (unsigned i = 0; i < rows && at != NULL; i++) {
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    if (at != NULL && rows > 0) {
        *at = '\0';
        out->len = (size_t)(at - out->data);
    }
}

int view_draw(const struct view *view, struct buf *out, struct err *err)
{
    if (!json_is_object(json_object_get(view->now, "process")))
        return err_set(err, "this is no answer of /status");
    head(view, out);
    load(view, out);
    rooms(view, out);
    workers(view, out);
    pools(view, out);
    requests(view, out);
    routes(view, out);
    cut(out, view->rows);
    return 0;
}
