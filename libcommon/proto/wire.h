/* Messages as data: one table of fields for each message, from which it is both written and read.
 * What is read must be exactly of the form: a missing, unknown or repeated member, another type, a
 * number out of range, a text that breaks its rule are refused, and the error names the member. */
#ifndef LIBCOMMON_PROTO_WIRE_H
#define LIBCOMMON_PROTO_WIRE_H

#include "libcommon/json.h"

#include <stddef.h>

enum wire_kind {
    WIRE_CONST, /* the integer `min`; not stored */
    WIRE_INT,   /* int64_t, min..max */
    WIRE_UINT,  /* uint64_t, min..max */
    WIRE_BOOL,  /* bool */
    WIRE_TEXT,  /* char array that holds max bytes and NUL; min..max bytes, no control characters */
    WIRE_ENUM,  /* an enum: index into words */
    WIRE_ADDRESS, /* uint8_t[20], EIP-55 on the wire */
    WIRE_WORD,    /* struct word, 0x and 64 digits */
    WIRE_OBJECT,  /* an embedded struct of `shape` */
    WIRE_LIST, /* a pointer to owned structs of `shape` and, at count_offset, a size_t; min..max */
    WIRE_MAP,  /* the same as an object: a struct's first field is the key, the second the value */
};

struct wire_shape;

struct wire_field {
    const char *name; /* NULL: the struct is written as this field alone, not as an object */
    enum wire_kind kind;
    size_t offset;
    size_t count_offset;
    int64_t min, max;
    bool (*valid)(const char *text, size_t len); /* of a TEXT; NULL: any */
    const char *rule;                            /* what `valid` wants, after "must be " */
    const char *const *words;                    /* ended by NULL */
    const struct wire_shape *shape;
    /* Whether the struct, as far as it was read, has this field; NULL: always. */
    bool (*present)(const void *base);
    bool optional; /* of a TEXT or INT: absent and empty, or 0, are the same */
};

struct wire_shape {
    const struct wire_field *fields;
    size_t count;
    size_t size;
};

#define WIRE_SHAPE(name, type, table)                                                              \
    static const struct wire_shape name = {(table), ARRAY_LEN(table), sizeof(type)}

json_t *wire_write(const struct wire_shape *shape, const void *base);
/* Compact text, the same bytes for the same struct; the caller's. */
char *wire_text(const struct wire_shape *shape, const void *base);

/* Overwrites *base. Where it fails, nothing of it is owned any more and all of it is zero. */
int wire_read(const struct wire_shape *shape, const json_t *json, void *base,
              struct err *err) MUST_USE;
int wire_parse(const struct wire_shape *shape, const char *text, size_t len, void *base,
               struct err *err) MUST_USE;
/* The same for a reply, which may be an error instead: {"error": {"code", "message"}} fails with
 * "<code>: <message>". */
int wire_parse_reply(const struct wire_shape *shape, const char *text, size_t len, void *base,
                     struct err *err) MUST_USE;
/* A reply that is an object and no error. */
int wire_reply_json(const char *text, size_t len, json_t **out, struct err *err) MUST_USE;

/* Frees the lists and zeroes the struct. */
void wire_clear(const struct wire_shape *shape, void *base);

/* Rules that several messages share. */
bool wire_is_day(const char *text, size_t len); /* 2026-11-21 */
#define WIRE_TIME_MAX  253402300799             /* year 9999: Unix seconds */
#define WIRE_SPENT_MAX (1LL << 50)              /* of one entry; sums of many still fit 64 bits */

#endif
