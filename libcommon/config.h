/* Configuration as data: one table of fields for each section; loading, defaults, ranges, file:line
 * errors and the reference page in docs/ all come from it. YAML 1.1 by libyaml; unknown and
 * repeated keys are refused. In scalars,
 * ${VAR}, ${VAR:-default} and ${file:/path} are expanded after parsing, $$ is a dollar; an unset
 * variable without a default is an error. Sizes need no unit or KiB, MiB, GiB; durations need ms,
 * s, m, h or d; rates are N/s. Bounded: 4 MiB a file, 64 KiB a value, 32 levels; no aliases. */
#ifndef LIBCOMMON_CONFIG_H
#define LIBCOMMON_CONFIG_H

#include "libcommon/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_kind {
    CONFIG_STRING,   /* const char *, never NULL; min..max bytes */
    CONFIG_BOOL,     /* bool */
    CONFIG_INT,      /* int64_t, min..max; word i of words, if any, stands for i */
    CONFIG_SIZE,     /* int64_t bytes */
    CONFIG_DURATION, /* int64_t milliseconds */
    CONFIG_RATE,     /* int64_t a second */
    CONFIG_PERCENT,  /* int64_t 0..100 */
    CONFIG_FLOAT,    /* double, min..max */
    CONFIG_ENUM,     /* int: index into words */
    CONFIG_STRINGS,  /* struct config_list of const char * */
    CONFIG_SECTION,  /* the section's struct, embedded; absent: its defaults; fallback: that of its
                        scalar_field */
    CONFIG_OPTIONAL, /* pointer to the section's struct; NULL where absent */
    CONFIG_LIST,     /* struct config_list of the section's struct */
    CONFIG_MAP,      /* the same; the struct's first member is `const char *key` */
};

struct config_list {
    void *items;
    size_t count;
};

struct config_schema;

struct config_field {
    const char *name;
    enum config_kind kind;
    size_t offset;
    const char
        *fallback; /* as it would stand in the file; NULL: zero, or an error where `required` */
    bool required;
    bool secret;      /* never printed */
    int64_t min, max; /* both 0: any; max 0: no upper bound; for lists: how many, max 0: 10000 */
    const char *const *words;
    const struct config_schema *section;
    const char *doc;
};

struct config_schema {
    const char *name;
    size_t size;
    const struct config_field *fields;
    size_t count;
    /* Checks what a table cannot say. `err` is prefixed with the section's file:line. NULL: nothing
     * to check. */
    int (*check)(void *section, struct err *err);
    /* A scalar may stand for the section: it sets the field of this name. NULL: no. */
    const char *scalar_field;
};

#define CONFIG_FIELD(type, member, key, k, ...)                                                    \
    {                                                                                              \
        .name = (key), .kind = (k), .offset = offsetof(type, member), __VA_ARGS__                  \
    }

/* Where a value stood: for errors found after loading. Relative paths in a file are relative to the
 * working directory. */
struct config;

int config_load(const char *path, const struct config_schema *schema, struct config **out,
                struct err *err) MUST_USE;
/* `name` stands for the file in errors. */
int config_parse(const char *name, const char *text, size_t len, const struct config_schema *schema,
                 struct config **out, struct err *err) MUST_USE;
/* All defaults, as an empty file would give. */
int config_defaults(const struct config_schema *schema, struct config **out,
                    struct err *err) MUST_USE;
/* The struct of the root section; lives as long as the config. */
void *config_root(struct config *config);
/* One more owner: it is freed by as many config_free. Any thread. */
struct config *config_share(struct config *config);
void config_free(struct config **config);
/* Of the text that it was made of; not a secret-keeping hash. */
uint64_t config_fingerprint(const struct config *config);
/* Whether two structs of a section say the same. */
bool config_same(const struct config_schema *schema, const void *a, const void *b);

/* The reference page of a schema, Markdown on out. */
struct buf;
void config_document(const struct config_schema *schema, struct buf *out);

/* Shared parsers of single values. */
int config_parse_size(const char *text, int64_t *bytes, struct err *err) MUST_USE;
int config_parse_duration(const char *text, int64_t *ms, struct err *err) MUST_USE;

#endif
