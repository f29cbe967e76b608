/* Requests a second of each client address, in a table of fixed size that all workers share; IPv6
 * counts by /64. The algorithm is GCRA: what is kept of an address is one time, and once that lies
 * in the past it says nothing more, so forgetting it costs nothing. A slot is found by a keyed hash
 * that nobody outside can compute, among the eight of its bucket; where all eight still mean
 * something, the one that used least of its rate is forgotten. So an address is only forgotten for
 * others that ask more than it does, and a new one never finds the door closed. */
#ifndef PROXY_IP_RATE_H
#define PROXY_IP_RATE_H

#include "services/proxy/cidr.h"

struct ip_rate;

/* Room for `entries` addresses, a power of two of at least 8: 16 bytes each. */
struct ip_rate *ip_rate_new(size_t entries);
void ip_rate_free(struct ip_rate **table);
/* One more request of this address. `scope` keeps limits apart (0: the general one); rate is a
 * second's, above 0; burst 0: a second's worth. false: not now; *retry_ns is how long to wait. Any
 * thread; no lock. */
bool ip_rate_take(struct ip_rate *table, const struct address *address, uint64_t scope,
                  int64_t rate, int64_t burst, int64_t now_ns, int64_t *retry_ns);

#endif
