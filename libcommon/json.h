/* Cleanup and bounded parsing for jansson. */
#ifndef LIBCOMMON_JSON_H
#define LIBCOMMON_JSON_H

#include "libcommon/err.h"
#include "libcommon/mem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

void json_cleanup(json_t **json);
#define AUTO_JSON CLEANUP(json_cleanup)

/* Parses a whole text: duplicate keys, NUL bytes and nesting deeper than 32 are refused. */
int json_parse(const char *text, size_t len, json_t **out, struct err *err) MUST_USE;
/* The same for texts so large that how many values they hold matters: refuses more than `most`,
 * keys not counted. */
int json_parse_most(const char *text, size_t len, size_t most, json_t **out,
                    struct err *err) MUST_USE;
/* Compact text with keys in order of insertion; the caller's. */
char *json_text(const json_t *json);

/* Members of an object; -1 with the member's name where absent or of another type or out of range.
 */
int json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                 struct err *err) MUST_USE;
int json_get_str(const json_t *object, const char *key, size_t max_len, const char **out,
                 struct err *err) MUST_USE;
int json_get_bool(const json_t *object, const char *key, bool *out, struct err *err) MUST_USE;
/* *out is borrowed from the object; it is an object, or an array of at most max items. */
int json_get_object(const json_t *object, const char *key, const json_t **out,
                    struct err *err) MUST_USE;
int json_get_array(const json_t *object, const char *key, size_t max, const json_t **out,
                   struct err *err) MUST_USE;
/* -1 with the name of a member that is not in the NULL-terminated list. */
int json_only(const json_t *object, const char *const *keys, struct err *err) MUST_USE;

#endif
