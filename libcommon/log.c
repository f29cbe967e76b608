/* Owns what a log line looks like and when it is written. A line is formatted in place, in a slot
 * of a ring (log_ring.c) when a writer runs, else on the stack and written at once. Strings are cut
 * so that every line fits its slot and stays a whole JSON object. */
#include "libcommon/log.h"

#include "libcommon/clock.h"
#include "libcommon/log_file.h"
#include "libcommon/log_line.h"
#include "libcommon/log_ring.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OPEN   false
#define SECRET true
#define SLOTS  2048

static const struct {
    const char *name;
    bool secret;
} keys[] = {

#define LOG_KEY(id, name_, secrecy, doc) {name_, secrecy},
#include "libcommon/log_keys.def"
#undef LOG_KEY
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static const char *service_name = "octroi";
static _Atomic int current_level = LOG_LEVEL_INFO;
static struct log_ring *ring; /* to standard error; made once, kept to the end */
static struct log_file *output;

static void put_float(struct log_line *line, double value)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%.6g", value);

    if (isfinite(value))
        log_line_put(line, text, (size_t)len);
    else
        log_line_put(line, "null", 4);
}

static void put_value(struct log_line *line, const struct log_field *field)
{
    switch (field->type) {
    case LOG_TYPE_STR:
    case LOG_TYPE_STRN:
        if (field->value.str == NULL)
            log_line_put(line, "null", 4);
        else
            log_line_string(line, field->value.str,
                            field->type == LOG_TYPE_STR ? strlen(field->value.str) : field->len);
        break;
    case LOG_TYPE_INT:
        log_line_int(line, field->value.i);
        break;
    case LOG_TYPE_UINT:
        log_line_uint(line, field->value.u);
        break;
    case LOG_TYPE_BOOL:
        log_line_puts(line, field->value.i != 0 ? "true" : "false");
        break;
    case LOG_TYPE_FLOAT:
        put_float(line, field->value.f);
        break;
    case LOG_TYPE_END:
        break;
    }
}

static void put_field(struct log_line *line, const struct log_field *field)
{
    const char *name = keys[field->key].name;

    /* A number, or the least string: `,"name":` and 24 digits or `"..."`. */
    if (!log_line_fits(line, strlen(name) + 4 + 24))
        return;
    log_line_put(line, ",\"", 2);
    log_line_puts(line, name);
    log_line_put(line, "\":", 2);
    if (keys[field->key].secret)
        log_line_put(line, "\"[redacted]\"", 12);
    else
        put_value(line, field);
}

static void put_time(struct log_line *line)
{
    char ts[LOG_LINE_TS];

    log_line_ts(ts, clock_wall_ms(&clock_system));
    log_line_put(line, "{\"ts\":\"", 7);
    log_line_put(line, ts, sizeof(ts));
}

static size_t format_line(char *data, size_t size, enum log_level level, const char *msg,
                          const struct log_field *fields)
{
    struct log_line line = {.data = data, .room = size - 2};

    put_time(&line);
    log_line_puts(&line, "\",\"level\":\"");
    log_line_puts(&line, level_names[level]);
    log_line_puts(&line, "\",\"service\":");
    log_line_string(&line, service_name, strlen(service_name));
    log_line_puts(&line, ",\"msg\":");
    log_line_string(&line, msg, strlen(msg));
    for (; fields->type != LOG_TYPE_END; fields++)
        put_field(&line, fields);
    memcpy(line.data + line.len, "}\n", 2);
    return line.len + 2;
}

static void write_now(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t done = write(STDERR_FILENO, data, len);
        if (done <= 0)
            return;
        data += done;
        len -= (size_t)done;
    }
}

static void add_line(void *ctx, const char *data, size_t len)
{
    (void)ctx;
    log_file_add(output, data, len);
}

static void flush(void *ctx, uint64_t dropped)
{
    char data[LOG_LINE_MAX];

    (void)ctx;
    if (dropped > 0)
        log_file_add(output, data,
                     format_line(data, sizeof(data), LOG_LEVEL_WARN,
                                 "log lines were dropped: the log is read too slowly",
                                 (const struct log_field[]){LOG_UINT(COUNT, dropped),
                                                            {.type = LOG_TYPE_END}}));
    if (log_file_flush(output) != 0)
        return; /* there is nobody left to tell */
}

void log_init(const char *service, enum log_level level)
{
    service_name = service;
    log_set_level(level);
}

void log_start_writer(void)
{
    static const struct log_ring_sink sink = {.line = add_line, .flush = flush};
    struct err err;

    if (ring == NULL) {
        output = log_file_of(STDERR_FILENO);
        ring = log_ring_new("log", SLOTS, &sink);
        log_file_patience(output, ring);
    }
    if (log_ring_start(ring, &err) != 0)
        log_warn("lines are written at once", LOG_STR(ERROR, err.msg));
}

void log_stop_writer(void)
{
    if (ring != NULL)
        log_ring_stop(ring);
}

struct log_ring *log_lines(void)
{
    return ring;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

int log_parse_level(const char *text, enum log_level *out)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

uint64_t log_dropped(void)
{
    return ring != NULL ? log_ring_dropped(ring) : 0;
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    struct log_slot *slot = NULL;
    char data[LOG_LINE_MAX];

    switch (log_ring_claim(ring, &slot)) {
    case LOG_RING_CLAIMED:
        slot->len = format_line(slot->data, sizeof(slot->data), level, msg, fields);
        log_ring_publish(ring, slot);
        break;
    case LOG_RING_STOPPED:
        write_now(data, format_line(data, sizeof(data), level, msg, fields));
        break;
    case LOG_RING_FULL:
        break;
    }
}
