/* Single values of a configuration, from text. For config*.c only. */
#ifndef LIBCOMMON_CONFIG_VALUE_H
#define LIBCOMMON_CONFIG_VALUE_H

#include "libcommon/config.h"

/* Writes the value of a scalar field (not of STRING, STRINGS or what has a section) to out. Errors
 * say what is allowed, and never repeat the text. */
int config_value_parse(const struct config_field *field, const char *text, void *out,
                       struct err *err) MUST_USE;
/* "a duration with its unit", and its range: for errors and the reference page. */
struct buf;
void config_value_describe(const struct config_field *field, struct buf *out);

#endif
