/* Requests that are parked until subd has answered: intrusive lists that a request can leave from
 * anywhere, and a second list by age so that none waits too long. One worker's, no locks. */
#ifndef PROXY_BILLING_WAIT_H
#define PROXY_BILLING_WAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request;

struct billing_link {
    struct billing_link *prev, *next;
};

struct billing_waits {
    struct billing_link head; /* circular */
};

/* One parked request; lives in its pool. */
struct billing_wait {
    struct billing_link link; /* among those that wait for the same thing */
    struct billing_link age;  /* among all of the worker, oldest first */
    int64_t since_ns;         /* when it was first parked */
    struct request *request;
    void (*again)(struct request *request);
};

void billing_link_append(struct billing_waits *list, struct billing_link *link);
/* Harmless where it is on no list. */
void billing_link_remove(struct billing_link *link);

void billing_waits_init(struct billing_waits *waits);
bool billing_waits_empty(const struct billing_waits *waits);
size_t billing_waits_count(const struct billing_waits *waits);
void billing_wait_park(struct billing_wait *wait, struct billing_waits *waits,
                       struct billing_waits *ages);
/* Off both lists; harmless where it is on none. */
void billing_wait_leave(struct billing_wait *wait);
/* Takes the first out to try it again, NULL where empty; it keeps its age. */
struct billing_wait *billing_waits_pop(struct billing_waits *waits);
struct billing_wait *billing_waits_oldest(const struct billing_waits *ages);
/* Moves all of `from` behind those of `to`. */
void billing_waits_move(struct billing_waits *to, struct billing_waits *from);

#endif
