/* A cell of a journal: 128 bytes in shared memory, written by one thread. The identity is there,
 * checked by a checksum, before the first count; counters only grow and are stored whole, so
 * whoever reads them, at whatever instant the writer was killed, reads what was counted. */
#ifndef PROXY_JOURNAL_CELL_H
#define PROXY_JOURNAL_CELL_H

#include "libcommon/proto/sub.h"

#include <stdatomic.h>

enum journal_counter {
    JOURNAL_REQUESTS, /* marked just before the first byte went to an origin */
    JOURNAL_UNDONE,   /* of those: not one byte was written */
    JOURNAL_BYTES_IN,
    JOURNAL_BYTES_OUT,
    JOURNAL_MESSAGES,
    JOURNAL_EVENTS,
    JOURNAL_COST,
    JOURNAL_COST_UNDONE, /* of that: of requests of which not one byte was written */
    JOURNAL_COUNTERS
};

struct journal_identity {
    char sub[SUB_ID_LEN + 1];
    int64_t lease;
    int64_t period;
    char day[11];
};

/* The identity as it is stored. */
struct journal_key {
    uint8_t sub[16];
    int64_t lease;
    int64_t period;
    int32_t day; /* 20261121 */
    uint32_t generation;
};

struct journal_cell {
    struct journal_key key;
    uint64_t check; /* of key */
    _Atomic uint32_t valid;
    uint32_t unused;
    _Atomic uint64_t counters[JOURNAL_COUNTERS];
    uint8_t spare[128 - 40 - 16 - 8 * JOURNAL_COUNTERS];
};

_Static_assert(sizeof(struct journal_cell) == 128, "the file's format");

/* The cell's one writer. */
static inline void journal_cell_add(struct journal_cell *cell, enum journal_counter counter,
                                    uint64_t n)
{
    uint64_t seen = atomic_load_explicit(&cell->counters[counter], memory_order_relaxed);
    atomic_store_explicit(&cell->counters[counter], seen + n, memory_order_relaxed);
}

/* Writes the identity and makes the cell valid. */
void journal_cell_write(struct journal_cell *cell, const struct journal_identity *identity);
/* Invalid from now on; counters are zero again. */
void journal_cell_clear(struct journal_cell *cell);
bool journal_cell_valid(const struct journal_cell *cell);
/* The identity is what was written. */
bool journal_cell_sound(const struct journal_cell *cell);
void journal_key_of(const struct journal_identity *identity, struct journal_key *key);
void journal_key_text(const struct journal_key *key, struct journal_identity *identity);

#endif
