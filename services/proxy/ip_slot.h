/* Connections at a time of each client address; IPv6 counts by /64. Counts are exact: an address is
 * known while it has a connection, so memory is bounded by limits.connections. Taken when a
 * connection's address is known, given back when its descriptor is closed (io_close). */
#ifndef PROXY_IP_SLOT_H
#define PROXY_IP_SLOT_H

#include "services/proxy/cidr.h"

struct ip_slots;
struct ip_slot;

struct ip_slots *ip_slots_new(void);
/* Every slot was given back. */
void ip_slots_free(struct ip_slots **slots);
/* NULL: this address has `limit` of them. Any thread. */
struct ip_slot *ip_slot_take(struct ip_slots *slots, const struct address *address, int64_t limit);
void ip_slot_release(struct ip_slot **slot);

#endif
