/* The log of a journal: records that are appended and synced before what they hold is published. A
 * record is whole or it is not there: each carries the SHA-256 of itself, and what follows the last
 * whole one is cut. A BATCH holds a batch as it goes out, and how far each of its leases is sealed
 * by it; a CHECKPOINT replaces everything that earlier records said about leases, so that applied
 * batches can be dropped. Byte order is the host's: a log never leaves it. */
#ifndef PROXY_JOURNAL_LOG_H
#define PROXY_JOURNAL_LOG_H

#include "services/proxy/journal_file.h"

#include <sys/types.h>

enum journal_record_type { JOURNAL_BATCH = 1, JOURNAL_CHECKPOINT = 2 };

/* How much of a lease is in sealed batches. */
struct journal_state {
    struct journal_key key;
    uint32_t closed;
    uint32_t unused;
    uint64_t counters[JOURNAL_COUNTERS];
};

struct journal_record {
    enum journal_record_type type;
    int64_t seq; /* of a checkpoint: the last that was sealed */
    bool final;
    const struct journal_state *states;
    size_t count;
    const char *text;
    size_t len;
};

struct journal_log {
    int fd; /* -1: not open */
    off_t size;
    bool broken; /* a failed append could not be taken back */
};

int journal_log_create(const char *dir, const char *id, struct journal_log *log,
                       struct err *err) MUST_USE;
enum journal_lock journal_log_open(const char *dir, const char *id,
                                   struct journal_log *log) MUST_USE;
void journal_log_close(struct journal_log *log);

/* Calls fn for each record in order and cuts a torn tail. -1: damaged in the middle, or fn failed.
 */
int journal_log_replay(struct journal_log *log,
                       int (*fn)(void *ctx, const struct journal_record *record, struct err *err),
                       void *ctx, struct err *err) MUST_USE;
/* On disk when it returns 0; not there at all when it returns -1. */
int journal_log_append(struct journal_log *log, const struct journal_record *record,
                       struct err *err) MUST_USE;
/* Replaces the log by these records, atomically. */
int journal_log_rewrite(const char *dir, const char *id, struct journal_log *log,
                        const struct journal_record *records, size_t count,
                        struct err *err) MUST_USE;

#endif
