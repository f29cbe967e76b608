/* The parts of a journal, for journal.c and journal_adopt.c. */
#ifndef PROXY_JOURNAL_INTERNAL_H
#define PROXY_JOURNAL_INTERNAL_H

#include "services/proxy/journal.h"
#include "services/proxy/journal_leases.h"

#include <pthread.h>

/* Cells that one thread hands out: new ones up to `fresh`, and a ring of those that came back. */
struct journal_region {
    uint32_t *ring;
    _Atomic uint32_t head, tail, fresh;
};

struct journal {
    char *dir;
    char id[LEASE_JOURNAL_LEN + 1];
    bool adopted;
    bool damaged; /* what it holds cannot be trusted */
    struct journal_file file;
    struct journal_log log;
    struct journal_region *region;
    unsigned regions, per_region;

    _Atomic bool writable;
    _Atomic size_t unretired;
    _Atomic int64_t applied;

    pthread_mutex_t mutex; /* guards the leases that are over */
    int64_t *over;
    size_t over_count, over_cap;

    /* the flushing thread's */
    struct journal_leases leases;
    struct journal_batch *batches, **batches_end; /* not known to be applied, by seq */
    size_t unretired_bytes;
    int64_t next_seq;
    bool final;
};

struct journal *journal_new(const char *dir, const char *id);
void journal_keep_batch(struct journal *journal, int64_t seq, bool final, const char *text,
                        size_t len);

#endif
