/* Owns what a log line looks like and when it is written. A line is formatted in place, in a slot
 * of a ring (log_ring.c) when a writer runs, else on the stack and written at once. Strings are cut
 * so that every line fits its slot and stays a whole JSON object. */
#include "libcommon/log.h"

#include "libcommon/clock.h"
#include "libcommon/log_ring.h"
#include "libcommon/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OPEN   false
#define SECRET true

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

/* The end of a line that is being formatted; `room` always leaves place for `}\n`. */
struct line {
    char *data;
    size_t len;
    size_t room;
};

static void put(struct line *line, const char *text, size_t len)
{
    if (len > line->room - line->len)
        len = line->room - line->len;
    memcpy(line->data + line->len, text, len);
    line->len += len;
}

static bool fits(const struct line *line, size_t len)
{
    return len <= line->room - line->len;
}

/* One character or escape of a JSON string; returns the bytes of the input it took. */
static size_t escape(const char *at, size_t left, char out[8], size_t *len)
{
    size_t take = utf8_len(at, left);
    unsigned char c = (unsigned char)*at;

    if (take == 0) {
        *len = (size_t)snprintf(out, 8, "\\ufffd");
        return 1;
    }
    if (c == '"' || c == '\\')
        *len = (size_t)snprintf(out, 8, "\\%c", c);
    else if (c < 0x20 || c == 0x7f)
        *len = (size_t)snprintf(out, 8, "\\u%04x", c);
    else
        memcpy(out, at, *len = take);
    return take;
}

/* Cut with "..." where it does not fit; the closing quote always does. */
static void put_string(struct line *line, const char *text, size_t len)
{
    static const size_t reserve = 4; /* `..."` */
    size_t at = 0;

    put(line, "\"", 1);
    while (at < len) {
        char piece[8];
        size_t size;
        size_t took = escape(text + at, len - at, piece, &size);
        if (!fits(line, size + reserve)) {
            put(line, "...", 3);
            break;
        }
        put(line, piece, size);
        at += took;
    }
    put(line, "\"", 1);
}

static void put_format(struct line *line, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void put_format(struct line *line, const char *fmt, ...)
{
    char text[64];
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    put(line, text, len < 0 ? 0 : (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

static void put_float(struct line *line, double value)
{
    if (isfinite(value))
        put_format(line, "%.6g", value);
    else
        put(line, "null", 4);
}

static void put_value(struct line *line, const struct log_field *field)
{
    switch (field->type) {
    case LOG_TYPE_STR:
    case LOG_TYPE_STRN:
        if (field->value.str == NULL)
            put(line, "null", 4);
        else
            put_string(line, field->value.str,
                       field->type == LOG_TYPE_STR ? strlen(field->value.str) : field->len);
        break;
    case LOG_TYPE_INT:
        put_format(line, "%" PRId64, field->value.i);
        break;
    case LOG_TYPE_UINT:
        put_format(line, "%" PRIu64, field->value.u);
        break;
    case LOG_TYPE_BOOL:
        put_format(line, field->value.i != 0 ? "true" : "false");
        break;
    case LOG_TYPE_FLOAT:
        put_float(line, field->value.f);
        break;
    case LOG_TYPE_END:
        break;
    }
}

static void put_field(struct line *line, const struct log_field *field)
{
    const char *name = keys[field->key].name;

    /* A number, or the least string: `,"name":` and 24 digits or `"..."`. */
    if (!fits(line, strlen(name) + 4 + 24))
        return;
    put_format(line, ",\"%s\":", name);
    if (keys[field->key].secret)
        put(line, "\"[redacted]\"", 12);
    else
        put_value(line, field);
}

static void put_time(struct line *line)
{
    int64_t ms = clock_wall_ms(&clock_system);
    char text[32];

    clock_rfc3339(ms / 1000, text);
    put_format(line, "{\"ts\":\"%.19s.%03dZ\",", text, (int)(ms % 1000));
}

static size_t format_line(char *data, size_t size, enum log_level level, const char *msg,
                          const struct log_field *fields)
{
    struct line line = {.data = data, .room = size - 2};

    put_time(&line);
    put_format(&line, "\"level\":\"%s\",\"service\":", level_names[level]);
    put_string(&line, service_name, strlen(service_name));
    put(&line, ",\"msg\":", 7);
    put_string(&line, msg, strlen(msg));
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

static void report_dropped(uint64_t count)
{
    char data[LOG_LINE_MAX];
    size_t len = format_line(
        data, sizeof(data), LOG_LEVEL_WARN, "log lines were dropped: the log is read too slowly",
        (const struct log_field[]){LOG_UINT(COUNT, count), {.type = LOG_TYPE_END}});

    log_ring_write(data, len);
}

void log_init(const char *service, enum log_level level)
{
    service_name = service;
    log_set_level(level);
}

void log_start_writer(void)
{
    log_ring_start(report_dropped);
}

void log_stop_writer(void)
{
    log_ring_stop();
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
    return log_ring_dropped();
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    struct log_slot *slot = NULL;
    char data[LOG_LINE_MAX];

    switch (log_ring_claim(&slot)) {
    case LOG_RING_CLAIMED:
        slot->len = format_line(slot->data, sizeof(slot->data), level, msg, fields);
        log_ring_publish(slot);
        break;
    case LOG_RING_STOPPED:
        write_now(data, format_line(data, sizeof(data), level, msg, fields));
        break;
    case LOG_RING_FULL:
        break;
    }
}
