/* The PROXY protocol, versions 1 and 2 (haproxy.org/download/2.6/doc/proxy-protocol.txt): who
 * really connected, said by the balancer in front as the first bytes of a connection. */
#ifndef PROXY_PROXY_PROTOCOL_H
#define PROXY_PROXY_PROTOCOL_H

#include "services/proxy/cidr.h"

#define PROXY_PROTOCOL_MAX       4096 /* of a header that is read, its TLVs included */
#define PROXY_PROTOCOL_WRITE_MAX 108

enum proxy_protocol_result { PROXY_PROTOCOL_MORE, PROXY_PROTOCOL_DONE, PROXY_PROTOCOL_BAD };

struct proxy_header {
    bool known; /* false: the sender speaks for itself (LOCAL), or cannot say (UNKNOWN, UNSPEC) */
    struct address source, destination; /* of one family on the wire */
    uint16_t source_port, destination_port;
    size_t len; /* of the header: what follows belongs to the connection */
};

/* MORE: it may become a header; never with PROXY_PROTOCOL_MAX bytes or more. */
enum proxy_protocol_result proxy_protocol_parse(const char *data, size_t len,
                                                struct proxy_header *out);
/* version 1 or 2; out holds PROXY_PROTOCOL_WRITE_MAX bytes. Returns the length. */
size_t proxy_protocol_write(unsigned version, const struct proxy_header *header, char *out);

#endif
