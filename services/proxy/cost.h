/* What a GraphQL request weighs, paid before it goes to the origin: all of it or nothing, out of as
 * many leases as it takes, each counted in its own cell of the journal. */
#ifndef PROXY_COST_H
#define PROXY_COST_H

#include <stdbool.h>
#include <stdint.h>

struct request;
struct cost_part;

/* A member of the request. */
struct cost_state {
    int64_t weight; /* 0: nothing is weighed here */
    struct cost_part *parts;
    bool booked;
};

/* Takes it out of what this worker may spend. false: there is not enough, and nothing was taken. */
bool cost_pay(struct request *request);
/* At the request's mark, and where the mark is taken back. */
void cost_book(struct request *request);
void cost_unbook(struct request *request);
/* Gives back what was not booked. */
void cost_leave(struct request *request);

#endif
