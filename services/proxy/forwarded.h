/* The Forwarded header (RFC 7239), as far as it says for whom a trusted proxy asks. Pure functions
 * over bytes. */
#ifndef PROXY_FORWARDED_H
#define PROXY_FORWARDED_H

#include "services/proxy/cidr.h"

/* Looks through the elements of one field, from left to right; to be called for each field in turn.
 * *known and *client: the rightmost address that is not trusted, of those with nothing unreadable
 * (unknown, obfuscated) to their right. -1: the field is malformed. */
int forwarded_client(h2o_iovec_t value, const struct cidr_list *trusted, bool *known,
                     struct address *client) __attribute__((warn_unused_result));

#endif
