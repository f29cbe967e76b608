/* libcommon's networks and addresses, for texts of libh2o. */
#ifndef PROXY_CIDR_H
#define PROXY_CIDR_H

#include "libcommon/cidr.h"

#include <h2o.h>

static inline MUST_USE int address_parse(h2o_iovec_t text, struct address *out)
{
    return address_read(text.base, text.len, out);
}

#endif
