/* The one normal form of a path and of a host: what is matched is what is forwarded, so that no
 * spelling of a path reaches an origin past the rule that guards it. */
#ifndef PROXY_PATH_H
#define PROXY_PATH_H

#include <h2o.h>
#include <stdbool.h>

/* Decodes escapes of unreserved characters, writes the others in upper case, merges empty segments
 * and removes dot segments. `in` begins with '/'; `out` holds in.len bytes at least and may be
 * in.base. NULL, or what is wrong: an invalid escape, an encoded slash, backslash or NUL, a
 * backslash, an overlong encoding, a dot segment with parameters ("..;"). */
const char *path_normalize(h2o_iovec_t in, char *out, size_t *out_len);
/* True only where path_normalize would change nothing. */
bool path_is_normal(h2o_iovec_t path);

/* Host of a Host field or an authority: lower-cased, without port and one trailing dot, into `out`
 * (in.len bytes). -1: it is not one. */
/* Port of such a text, 0 where it names none. */
unsigned host_port(h2o_iovec_t in);
int host_normalize(h2o_iovec_t in, char *out, size_t *out_len) __attribute__((warn_unused_result));

#endif
