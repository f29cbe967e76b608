/* May it pass now: rate (GCRA) and quota (leases). */
#ifndef PROXY_QOS_H
#define PROXY_QOS_H

#include "services/proxy/billing_wait.h"

struct lease_share;

struct qos_state {
    struct lease_share *share; /* referenced until the exchange ends; NULL: not for sale */
    bool rated;                /* counted against the rate: once, however often it waited */
    struct billing_wait wait;
};

#endif
