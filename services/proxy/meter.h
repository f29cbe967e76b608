/* What an exchange used, on its way into the journal. room_meter is entered first and left last, so
 * it sees every exchange once. */
#ifndef PROXY_METER_H
#define PROXY_METER_H

#include <stdbool.h>
#include <stdint.h>

struct request;
struct journal_cell;

struct meter_state {
    struct journal_cell *cell; /* set by room_qos once admitted on a lease; NULL: not for sale */
    bool marked;
    uint64_t early_in;            /* payload bytes seen before the mark */
    uint64_t bytes_in, bytes_out; /* payload bytes, for the access log too */
};

/* Just before the first byte of the request goes to an origin: the request is billed from here, so
 * a kill can add one and never lose one. Idempotent: a retry does not bill again. */
void meter_mark(struct request *request);
/* Only if not one byte was written to any origin. */
void meter_unmark(struct request *request);

#endif
