/* One JSON object a line on standard error: ts, level, service, msg and the fields of the call. The
 * keys stand in log_keys.def; a key marked SECRET there is written as "[redacted]" whatever its
 * value. Lines go through a ring that another thread writes: a call never blocks, and what did not
 * fit is counted in a later line. log_info("listening", LOG_STR(ADDRESS, text), LOG_INT(PORT,
 * port)); */
#ifndef LIBCOMMON_LOG_H
#define LIBCOMMON_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_key {

#define LOG_KEY(id, name, secrecy, doc) LOG_KEY_##id,
#include "libcommon/log_keys.def"
#undef LOG_KEY
    LOG_KEYS
};

enum log_type {
    LOG_TYPE_END,
    LOG_TYPE_STR,
    LOG_TYPE_STRN,
    LOG_TYPE_INT,
    LOG_TYPE_UINT,
    LOG_TYPE_BOOL,
    LOG_TYPE_FLOAT
};

struct log_field {
    enum log_type type;
    enum log_key key;
    size_t len;

    union {
        const char *str; /* NULL is written as null; invalid UTF-8 and control bytes are escaped */
        int64_t i;
        uint64_t u;
        double f;
    } value;
};

#define LOG_STR(id, v)                                                                             \
    {                                                                                              \
        .type = LOG_TYPE_STR, .key = LOG_KEY_##id, .value.str = (v)                                \
    }
#define LOG_STRN(id, v, n)                                                                         \
    {                                                                                              \
        .type = LOG_TYPE_STRN, .key = LOG_KEY_##id, .len = (n), .value.str = (v)                   \
    }
#define LOG_INT(id, v)                                                                             \
    {                                                                                              \
        .type = LOG_TYPE_INT, .key = LOG_KEY_##id, .value.i = (v)                                  \
    }
#define LOG_UINT(id, v)                                                                            \
    {                                                                                              \
        .type = LOG_TYPE_UINT, .key = LOG_KEY_##id, .value.u = (v)                                 \
    }
#define LOG_BOOL(id, v)                                                                            \
    {                                                                                              \
        .type = LOG_TYPE_BOOL, .key = LOG_KEY_##id, .value.i = (v)                                 \
    }
#define LOG_FLOAT(id, v)                                                                           \
    {                                                                                              \
        .type = LOG_TYPE_FLOAT, .key = LOG_KEY_##id, .value.f = (v)                                \
    }

/* The service's name (kept, not copied). Without a writer thread lines are written at once. */
void log_init(const char *service, enum log_level level);
void log_start_writer(void);
/* Writes what is in the ring and stops the writer. */
void log_stop_writer(void);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* "debug", "info", "warn", "error" -> 0; anything else -1. */
int log_parse_level(const char *text, enum log_level *out) __attribute__((warn_unused_result));
struct log_ring;
/* The ring to standard error, for who formats its own lines; NULL before log_start_writer. */
struct log_ring *log_lines(void);
/* Lines that did not fit into the ring since the start. */
uint64_t log_dropped(void);

void log_write(enum log_level level, const char *msg, const struct log_field *fields);

#define LOG_AT(level, msg, ...)                                                                    \
    do {                                                                                           \
        if ((level) >= log_get_level())                                                            \
            log_write(                                                                             \
                (level), (msg),                                                                    \
                (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.type = LOG_TYPE_END}});     \
    } while (0)
#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
