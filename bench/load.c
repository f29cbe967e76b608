/* A load generator of one thread. With a rate it is open-loop: a request is due at its time whether
 * or not the server keeps up, and its latency counts from then (no coordinated omission). Prints
 * one line of JSON.
 * usage: bench_load [option value]... (see `options`) */
#include "bench/load.h"
#include "bench/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define OPENING_MAX 64    /* connections that are being opened for LOAD_IDLE at a time */
#define LOST_MAX    10000 /* a server that is not there ends the run */

struct load_options load_options = {.mode = LOAD_HTTP,
                                    .address = "127.0.0.1:8080",
                                    .path = "/",
                                    .header = "",
                                    .connections = 64,
                                    .seconds = 2,
                                    .warmup = 0.3,
                                    .bytes = 64,
                                    .bodies = "",
                                    .status = "200"};

static struct {
    uint64_t done, lost, closed, resumed, issued;
    uint32_t *latency_us;
    size_t latency_count, latency_cap;
    const char *why;
} stats;

static struct load_conn *conns;
static size_t opened, held;
static struct load_conn *free_conns;
static int64_t start_ns, measure_ns, end_ns;
static bool ending;
static char *bodies, *next_body;

static void read_bodies(void)
{
    FILE *file = load_options.bodies[0] ? fopen(load_options.bodies, "re") : NULL;
    size_t len = 0;
    if (!load_options.bodies[0])
        return;
    if (!file || getdelim(&bodies, &len, '\0', file) <= 0)
        net_die(load_options.bodies);
    fclose(file);
    next_body = bodies;
}

const char *load_body(size_t *len)
{
    const char *body = next_body;
    *len = bodies ? strcspn(body, "\n") : 0;
    if (*len == 0)
        return "";
    next_body += *len + (body[*len] == '\n');
    if (*next_body == '\0')
        next_body = bodies;
    return body;
}

static int64_t seconds_ns(double seconds)
{
    return (int64_t)(seconds * 1e9);
}

static void record(int64_t ns)
{
    if (stats.latency_count == stats.latency_cap) {
        stats.latency_cap = stats.latency_cap ? stats.latency_cap * 2 : 65536;
        stats.latency_us =
            reallocarray(stats.latency_us, stats.latency_cap, sizeof(*stats.latency_us));
        if (!stats.latency_us)
            net_die("realloc");
    }
    stats.latency_us[stats.latency_count++] = (uint32_t)(ns / 1000);
}

static int64_t due_at(uint64_t index)
{
    return start_ns + (int64_t)((double)index * 1e9 / load_options.rate);
}

static void issue(struct load_conn *conn, int64_t due_ns)
{
    conn->due_ns = due_ns;
    stats.issued++;
    load_conn_request(conn);
}

void load_ready(struct load_conn *conn)
{
    if (load_options.mode == LOAD_HANDSHAKE)
        issue(conn, conn->opened_ns);
    else if (load_options.rate == 0)
        issue(conn, net_now_ns());
    else {
        conn->next_free = free_conns;
        free_conns = conn;
    }
}

static void open_next(void)
{
    if (opened < load_options.connections)
        load_conn_open(&conns[opened++]);
}

void load_done(struct load_conn *conn, bool close)
{
    int64_t now = net_now_ns();
    stats.done++;
    conn->state = LOAD_FREE;
    if (now >= measure_ns)
        record(now - conn->due_ns);
    if (load_options.count && stats.done >= load_options.count)
        ending = true;
    if (load_options.mode == LOAD_IDLE) {
        held++;
        open_next();
    } else if (close) {
        load_conn_close(conn);
        load_conn_open(conn);
    } else if (!ending) {
        load_ready(conn);
    }
}

static void forget_free(const struct load_conn *conn)
{
    for (struct load_conn **link = &free_conns; *link; link = &(*link)->next_free)
        if (*link == conn) {
            *link = conn->next_free;
            return;
        }
}

/* `why` is NULL where the server closed a connection that had nothing to answer. */
void load_lost(struct load_conn *conn, const char *why)
{
    if (conn->state == LOAD_CLOSED)
        return;
    if (conn->state == LOAD_FREE)
        forget_free(conn);
    load_conn_close(conn);
    if (why) {
        stats.lost++;
        stats.why = why;
    } else {
        stats.closed++;
    }
    if (stats.lost > LOST_MAX || (load_options.mode == LOAD_IDLE && why)) {
        fprintf(stderr, "too much is lost: %s\n", why);
        exit(1);
    }
    load_conn_open(conn);
}

void load_resumed(void)
{
    stats.resumed++;
}

static struct timespec issue_due(int64_t now)
{
    int64_t until = end_ns;
    while (load_options.rate > 0 && free_conns) {
        int64_t due = due_at(stats.issued);
        if (due > now) {
            until = due < until ? due : until;
            break;
        }
        struct load_conn *conn = free_conns;
        free_conns = conn->next_free;
        issue(conn, due);
    }
    int64_t wait = until > now ? until - now : 0;
    return (struct timespec){wait / 1000000000, wait % 1000000000};
}

static void run(int epoll)
{
    struct epoll_event events[256];
    for (;;) {
        int64_t now = net_now_ns();
        if (ending || (now >= end_ns && !load_options.count))
            return;
        struct timespec wait = issue_due(now);
        int count = epoll_pwait2(epoll, events, 256, load_options.count ? NULL : &wait, NULL);
        for (int i = 0; i < count; i++)
            load_conn_event(events[i].data.ptr, events[i].events);
        if (load_options.mode == LOAD_IDLE && held == load_options.connections)
            return;
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t quantile(double q)
{
    size_t count = stats.latency_count;
    return count ? stats.latency_us[(size_t)(q * (double)(count - 1))] : 0;
}

static void report(int64_t took_ns)
{
    uint64_t due =
        load_options.rate > 0 ? (uint64_t)((double)took_ns / 1e9 * load_options.rate) : 0;
    qsort(stats.latency_us, stats.latency_count, sizeof(*stats.latency_us), compare);
    printf("{\"requests\": %llu, \"lost\": %llu, \"closed\": %llu, \"resumed\": %llu, "
           "\"behind\": %llu, \"seconds\": %.6f, \"p50\": %u, \"p99\": %u, \"p999\": %u, "
           "\"max\": %u, \"why\": \"%s\"}\n",
           (unsigned long long)stats.done, (unsigned long long)stats.lost,
           (unsigned long long)stats.closed, (unsigned long long)stats.resumed,
           (unsigned long long)(due > stats.issued ? due - stats.issued : 0), (double)took_ns / 1e9,
           quantile(0.5), quantile(0.99), quantile(0.999), quantile(1), stats.why ? stats.why : "");
    fflush(stdout);
}

static void hold(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

enum kind { TEXT, NUMBER, COUNT, SIZE, PATHS, FLAG, MODE };

static const struct {
    const char *name;
    enum kind kind;
    void *value;
} options[] = {
    {"-mode", MODE, &load_options.mode}, /* http handshake websocket upload idle */
    {"-to", TEXT, &load_options.address},
    {"-path", TEXT, &load_options.path},
    {"-paths", PATHS, &load_options.paths},
    {"-bodies", TEXT, &load_options.bodies},
    {"-status", TEXT, &load_options.status},
    {"-header", TEXT, &load_options.header},
    {"-connections", SIZE, &load_options.connections},
    {"-seconds", NUMBER, &load_options.seconds},
    {"-warmup", NUMBER, &load_options.warmup},
    {"-rate", NUMBER, &load_options.rate},
    {"-count", COUNT, &load_options.count},
    {"-bytes", COUNT, &load_options.bytes},
    {"-tls", FLAG, &load_options.tls},
    {"-resume", FLAG, &load_options.resume},
    {"-http2", FLAG, &load_options.http2},
};

static void set_mode(const char *text)
{
    static const char *const names[] = {"http", "handshake", "websocket", "upload", "idle"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(text, names[i]) == 0)
            load_options.mode = (enum load_mode)i;
}

static void set_option(size_t i, char *text)
{
    switch (options[i].kind) {
    case TEXT:
        *(char **)options[i].value = text;
        break;
    case NUMBER:
        *(double *)options[i].value = strtod(text, NULL);
        break;
    case COUNT:
        *(uint64_t *)options[i].value = strtoull(text, NULL, 10);
        break;
    case SIZE:
        *(size_t *)options[i].value = strtoul(text, NULL, 10);
        break;
    case PATHS:
        *(unsigned *)options[i].value = (unsigned)strtoul(text, NULL, 10);
        break;
    case FLAG:
        *(bool *)options[i].value = strcmp(text, "1") == 0;
        break;
    case MODE:
        set_mode(text);
        break;
    }
}

static int parse(int argc, char **argv)
{
    const size_t count = sizeof(options) / sizeof(*options);
    for (int at = 1; at < argc; at += 2) {
        size_t i = 0;
        while (i < count && strcmp(argv[at], options[i].name) != 0)
            i++;
        if (i == count || at + 1 == argc)
            return -1;
        set_option(i, argv[at + 1]);
    }
    return load_options.mode == LOAD_WEBSOCKET && load_options.bytes > LOAD_HEAD / 2 ? -1 : 0;
}

int main(int argc, char **argv)
{
    if (parse(argc, argv)) {
        fprintf(stderr, "usage: bench_load [option value]...\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    read_bodies();
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(load_options.connections, sizeof(*conns));
    if (!conns)
        net_die("calloc");
    load_conn_init(epoll);
    start_ns = net_now_ns();
    measure_ns = start_ns + seconds_ns(load_options.warmup);
    end_ns =
        load_options.mode == LOAD_IDLE ? INT64_MAX : start_ns + seconds_ns(load_options.seconds);
    size_t first = load_options.mode == LOAD_IDLE ? OPENING_MAX : load_options.connections;
    for (size_t i = 0; i < first; i++)
        open_next();
    run(epoll);
    report(net_now_ns() - start_ns);
    if (load_options.mode == LOAD_IDLE)
        hold();
    return 0;
}
