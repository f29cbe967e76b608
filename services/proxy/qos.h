/* May it pass now: rate (GCRA) and quota (leases). */
#ifndef PROXY_QOS_H
#define PROXY_QOS_H

struct lease;

struct qos_state {
    struct lease *lease; /* referenced until the exchange ends */
    void *waiting;       /* what a parked request waits for; NULL */
};

#endif
