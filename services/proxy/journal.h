/* What was used and is not in the ledger yet. One journal a process boot, named by a random id: a
 * memory-mapped file of cells that outlives the process (<id>.live), and a log of the batches
 * sealed from them (<id>.log). A process killed at any point loses and doubles nothing: whoever
 * finds the files unlocked seals the rest and reports it. Format and reasons: journal_file.h,
 * journal_log.h. */
#ifndef PROXY_JOURNAL_H
#define PROXY_JOURNAL_H

#include "libcommon/proto/usage.h"
#include "services/proxy/journal_cell.h"

struct journal;

/* Cells are handed out by region, each of which has one thread that opens and writes them. The
 * directory is made where absent. */
int journal_create(const char *dir, unsigned regions, unsigned cells, struct journal **out,
                   struct err *err) MUST_USE;
/* Takes over a journal that nobody holds. *out is NULL where somebody does, or nothing was in it
 * (its files are removed then). -1: it is damaged; its files are set aside as .bad. */
int journal_adopt(const char *dir, const char *id, struct journal **out, struct err *err) MUST_USE;
/* Unlocks it and leaves its files for the next adoption. */
void journal_close(struct journal **journal);
/* Deletes its files: everything in it has been applied. */
void journal_remove(struct journal **journal);
/* Ids of journals in the directory that are not locked, at most max. */
size_t journal_scan(const char *dir, char (*ids)[LEASE_JOURNAL_LEN + 1], size_t max);

const char *journal_id(const struct journal *journal);
bool journal_adopted(const struct journal *journal);

/* The region's thread. NULL: no cell is free. */
struct journal_cell *journal_cell_open(struct journal *journal, unsigned region,
                                       const struct journal_identity *identity);
/* The region's thread: how many can be opened now. */
size_t journal_room(const struct journal *journal, unsigned region);
/* Any thread: the last writer of this lease's cells is done. Its end is reported with the next
 * seal, and the cells are used again after it. */
void journal_lease_over(struct journal *journal, int64_t lease);
/* Any thread; before the first lease is asked for: something may be granted in this journal's name.
 */
void journal_lease_asked(struct journal *journal);
/* Any thread: false where nothing more may be served, because it could not be reported. */
bool journal_writable(const struct journal *journal);
/* Any thread: batches that are not known to be applied. */
size_t journal_unretired(const struct journal *journal);
/* Any thread: subd has every batch up to this one. */
void journal_applied(struct journal *journal, int64_t seq);

/* What follows is the flushing thread's. */

/* Puts what was used since the last time into batches on disk. final: ends all leases, and no batch
 * follows. Does nothing while too much is unretired, unless final. */
int journal_seal(struct journal *journal, bool final, struct err *err) MUST_USE;
/* Forgets what was applied, and shortens the log. */
int journal_retire(struct journal *journal, struct err *err) MUST_USE;
/* The final batch is sealed and all is applied. */
bool journal_done(const struct journal *journal);

struct journal_batch {
    struct journal_batch *next;
    int64_t seq;
    int64_t sent_ns; /* 0: not sent */
    bool final;
    size_t len;
    char *text; /* the payload, NUL-terminated */
};

/* The first that is to be sent (again): never sent, or sent before `resend_ns`. NULL: none. */
struct journal_batch *journal_due(const struct journal *journal, int64_t resend_ns);

#endif
