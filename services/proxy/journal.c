/* Journals: handing out cells, sealing what they hold, keeping batches until they are applied. */
#include "services/proxy/journal.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/journal_internal.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNRETIRED_BYTES_MAX (64u * 1024 * 1024)
#define UNRETIRED_MAX       4096
#define COMPACT_MIN         (256 * 1024)

struct journal *journal_new(const char *dir, const char *id)
{
    struct journal *journal = mem_zalloc(sizeof(*journal));
    journal->dir = mem_strdup(dir);
    snprintf(journal->id, sizeof(journal->id), "%s", id);
    journal->file.fd = journal->log.fd = -1;
    journal->batches_end = &journal->batches;
    journal->next_seq = 1;
    journal->writable = true;
    pthread_mutex_init(&journal->mutex, NULL);
    journal_leases_init(&journal->leases);
    return journal;
}

static void free_batches(struct journal *journal)
{
    while (journal->batches) {
        struct journal_batch *batch = journal->batches;
        journal->batches = batch->next;
        free(batch->text);
        free(batch);
    }
}

void journal_close(struct journal **journal)
{
    struct journal *j = *journal;
    if (!j)
        return;
    free_batches(j);
    journal_leases_free(&j->leases);
    journal_file_close(&j->file);
    journal_log_close(&j->log);
    for (unsigned i = 0; i < j->regions; i++)
        free(j->region[i].ring);
    free(j->region);
    free(j->over);
    free(j->dir);
    pthread_mutex_destroy(&j->mutex);
    free(j);
    *journal = NULL;
}

/* The live file first: without it the log is only repeated, which subd knows how to take; without
 * the log the cells would be reported again. */
void journal_remove(struct journal **journal)
{
    char path[JOURNAL_FILE_PATH];
    struct err err;
    journal_file_path((*journal)->dir, (*journal)->id, "live", path);
    unlink(path);
    if (journal_file_sync_dir((*journal)->dir, &err))
        log_warn("the journal's directory cannot be synced", LOG_STR(ERROR, err.msg));
    journal_file_path((*journal)->dir, (*journal)->id, "log", path);
    unlink(path);
    journal_close(journal);
}

static int make_dir(const char *dir, struct err *err)
{
    AUTO_FREE char *path = mem_strdup(dir);
    for (char *c = path + 1; *c; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        mkdir(path, 0755);
        *c = '/';
    }
    if (mkdir(path, 0700) && errno != EEXIST)
        return err_set(err, "%s: %s", dir, strerror(errno));
    return 0;
}

static void make_regions(struct journal *journal, unsigned regions, unsigned cells)
{
    journal->regions = regions;
    journal->per_region = cells;
    journal->region = mem_array(regions, sizeof(*journal->region));
    for (unsigned i = 0; i < regions; i++)
        journal->region[i].ring = mem_array(cells, sizeof(uint32_t));
}

int journal_create(const char *dir, unsigned regions, unsigned cells, struct journal **out,
                   struct err *err)
{
    uint8_t random[LEASE_JOURNAL_LEN / 2];
    char id[LEASE_JOURNAL_LEN + 1];
    if (RAND_bytes(random, sizeof(random)) != 1)
        return err_set(err, "no random bytes");
    hex_encode_bare(random, sizeof(random), id);
    if (make_dir(dir, err))
        return -1;
    struct journal *journal = journal_new(dir, id);
    make_regions(journal, regions, cells);
    if (journal_log_create(dir, id, &journal->log, err) ||
        journal_file_create(dir, id, regions, cells, &journal->file, err)) {
        journal_remove(&journal);
        return err_wrap(err, "the journal");
    }
    *out = journal;
    return 0;
}

const char *journal_id(const struct journal *journal)
{
    return journal->id;
}

bool journal_adopted(const struct journal *journal)
{
    return journal->adopted;
}

/* One consumer (the region's thread), one producer (the flushing thread). */
static struct journal_cell *free_cell(struct journal *journal, unsigned region)
{
    struct journal_region *r = &journal->region[region];
    struct journal_cell *cells = journal->file.cells + (size_t)region * journal->per_region;
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head != atomic_load_explicit(&r->tail, memory_order_acquire)) {
        struct journal_cell *cell = &cells[r->ring[head % journal->per_region]];
        atomic_store_explicit(&r->head, head + 1, memory_order_release);
        return cell;
    }
    uint32_t fresh = atomic_load_explicit(&r->fresh, memory_order_relaxed);
    if (fresh == journal->per_region)
        return NULL;
    atomic_store_explicit(&r->fresh, fresh + 1, memory_order_release);
    return &cells[fresh];
}

struct journal_cell *journal_cell_open(struct journal *journal, unsigned region,
                                       const struct journal_identity *identity)
{
    struct journal_cell *cell = journal_writable(journal) ? free_cell(journal, region) : NULL;
    if (cell)
        journal_cell_write(cell, identity);
    return cell;
}

size_t journal_room(const struct journal *journal, unsigned region)
{
    const struct journal_region *r = &journal->region[region];
    uint32_t back = atomic_load_explicit(&r->tail, memory_order_acquire) -
                    atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t fresh = atomic_load_explicit(&r->fresh, memory_order_relaxed);
    return journal_writable(journal) ? journal->per_region - fresh + back : 0;
}

static void recycle(struct journal *journal, unsigned region, uint32_t index)
{
    struct journal_region *r = &journal->region[region];
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    journal_cell_clear(&journal->file.cells[(size_t)region * journal->per_region + index]);
    r->ring[tail % journal->per_region] = index;
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
}

void journal_lease_over(struct journal *journal, int64_t lease)
{
    pthread_mutex_lock(&journal->mutex);
    if (journal->over_count == journal->over_cap) {
        journal->over_cap = journal->over_cap ? 2 * journal->over_cap : 64;
        journal->over = mem_resize(journal->over, journal->over_cap, sizeof(*journal->over));
    }
    journal->over[journal->over_count++] = lease;
    pthread_mutex_unlock(&journal->mutex);
}

void journal_lease_asked(struct journal *journal)
{
    journal_file_set_asked(&journal->file);
}

bool journal_writable(const struct journal *journal)
{
    return atomic_load_explicit(&journal->writable, memory_order_relaxed);
}

size_t journal_unretired(const struct journal *journal)
{
    return atomic_load_explicit(&journal->unretired, memory_order_relaxed);
}

void journal_applied(struct journal *journal, int64_t seq)
{
    int64_t seen = atomic_load_explicit(&journal->applied, memory_order_relaxed);
    while (seq > seen &&
           !atomic_compare_exchange_weak_explicit(&journal->applied, &seen, seq,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Adds up the cells. The ends of leases are taken first: whoever reported one had stopped writing,
 * so the cells, read later, hold all of it. */
static int collect(struct journal *journal, bool final, struct err *err)
{
    AUTO_FREE int64_t *over = NULL;
    pthread_mutex_lock(&journal->mutex);
    size_t over_count = journal->over_count;
    over = MEM_STEAL(journal->over);
    journal->over_count = journal->over_cap = 0;
    pthread_mutex_unlock(&journal->mutex);
    journal_leases_begin(&journal->leases);
    for (unsigned r = 0; r < journal->regions; r++) {
        uint32_t used = atomic_load_explicit(&journal->region[r].fresh, memory_order_acquire);
        for (uint32_t i = 0; i < used; i++) {
            struct journal_cell *cell = &journal->file.cells[(size_t)r * journal->per_region + i];
            if (!journal_cell_valid(cell))
                continue;
            if (!journal_cell_sound(cell)) {
                journal->damaged = true;
                return err_set(err, "cell %u of region %u is damaged", i, r);
            }
            journal_leases_add(&journal->leases, cell);
        }
    }
    for (size_t i = 0; i < over_count; i++) {
        struct journal_lease *lease = journal_leases_find(&journal->leases, over[i]);
        if (lease)
            lease->over = true;
    }
    if (final)
        for (struct journal_lease *l = journal->leases.first; l; l = l->listed)
            l->over = true;
    return 0;
}

void journal_keep_batch(struct journal *journal, int64_t seq, bool final, const char *text,
                        size_t len)
{
    struct journal_batch *batch = mem_zalloc(sizeof(*batch));
    batch->seq = seq;
    batch->final = final;
    batch->len = len;
    batch->text = mem_strndup(text, len);
    *journal->batches_end = batch;
    journal->batches_end = &batch->next;
    journal->unretired_bytes += len;
    atomic_fetch_add_explicit(&journal->unretired, 1, memory_order_relaxed);
}

static int write_batch(struct journal *journal, struct usage_batch *batch,
                       const struct journal_state *after, struct err *err)
{
    AUTO_FREE char *text = usage_batch_encode(batch);
    struct journal_record record = {.type = JOURNAL_BATCH,
                                    .seq = batch->seq,
                                    .final = batch->final,
                                    .states = after,
                                    .count = batch->count,
                                    .text = text,
                                    .len = strlen(text)};
    if (journal_log_append(&journal->log, &record, err))
        return -1;
    for (size_t i = 0; i < batch->count; i++)
        journal_leases_find(&journal->leases, after[i].key.lease)->sealed = after[i];
    journal_keep_batch(journal, batch->seq, batch->final, text, record.len);
    journal->next_seq++;
    journal->final = batch->final;
    return 0;
}

/* Whether any lease from this one on has something to report: the batch before it is not the last.
 */
static bool more(const struct journal_lease *lease)
{
    struct usage_entry entry;
    struct journal_state after;
    for (; lease; lease = lease->listed)
        if (journal_lease_entry(lease, &entry, &after))
            return true;
    return false;
}

/* One batch of as many entries as fit, from *lease on, which is moved along. */
static int seal_some(struct journal *journal, struct journal_lease **lease, bool final,
                     struct err *err)
{
    AUTO_FREE struct usage_entry *entries = mem_array(USAGE_ENTRIES_MAX, sizeof(*entries));
    AUTO_FREE struct journal_state *after = mem_array(USAGE_ENTRIES_MAX, sizeof(*after));
    struct usage_batch batch = {.seq = journal->next_seq, .entries = entries};
    memcpy(batch.journal, journal->id, sizeof(batch.journal));
    for (; *lease && batch.count < USAGE_ENTRIES_MAX; *lease = (*lease)->listed)
        if (journal_lease_entry(*lease, &entries[batch.count], &after[batch.count]))
            batch.count++;
    batch.final = final && !more(*lease);
    if (batch.count == 0 && !batch.final)
        return 0;
    return write_batch(journal, &batch, after, err);
}

static void free_closed(struct journal *journal)
{
    for (unsigned r = 0; r < journal->regions; r++) {
        uint32_t used = atomic_load_explicit(&journal->region[r].fresh, memory_order_acquire);
        for (uint32_t i = 0; i < used; i++) {
            struct journal_cell *cell = &journal->file.cells[(size_t)r * journal->per_region + i];
            if (!journal_cell_valid(cell))
                continue;
            struct journal_lease *lease = journal_leases_find(&journal->leases, cell->key.lease);
            if (lease && lease->sealed.closed)
                recycle(journal, r, i);
        }
    }
    journal_leases_prune(&journal->leases);
}

static bool any_closed(const struct journal *journal)
{
    for (const struct journal_lease *lease = journal->leases.first; lease; lease = lease->listed)
        if (lease->sealed.closed)
            return true;
    return false;
}

/* A journal in whose name nothing was ever asked has nothing to say. */
static bool silent(const struct journal *journal)
{
    return journal->next_seq == 1 && journal->leases.count == 0 &&
           !journal_file_asked(&journal->file);
}

static int seal(struct journal *journal, bool final, struct err *err)
{
    if (collect(journal, final, err))
        return -1;
    if (final && silent(journal)) {
        journal->final = true;
        return 0;
    }
    struct journal_lease *lease = journal->leases.first;
    if (!final && !more(lease))
        return 0;
    do {
        if (seal_some(journal, &lease, final, err))
            return -1;
    } while (lease);
    if (any_closed(journal))
        free_closed(journal);
    return 0;
}

static void set_writable(struct journal *journal, bool ok, const char *why)
{
    if (atomic_exchange_explicit(&journal->writable, ok, memory_order_relaxed) == ok)
        return;
    if (ok)
        log_info("the journal can be written again", LOG_STR(JOURNAL, journal->id));
    else
        log_error("the journal cannot be written; paid requests are refused",
                  LOG_STR(JOURNAL, journal->id), LOG_STR(ERROR, why));
}

int journal_seal(struct journal *journal, bool final, struct err *err)
{
    if (journal->final)
        return 0;
    if (!final && (journal->unretired_bytes >= UNRETIRED_BYTES_MAX ||
                   journal_unretired(journal) >= UNRETIRED_MAX))
        return 0;
    int failed = seal(journal, final, err);
    set_writable(journal, !failed, failed ? err->msg : "");
    return failed;
}

/* Batches that are still wanted, then what they would have said of leases. The cells go to disk
 * before: a cell that comes back from before its end must find that end in the log. */
static int compact(struct journal *journal, struct err *err)
{
    size_t count = journal_unretired(journal), n = 0, states = 0;
    if (journal_file_sync(&journal->file, err))
        return -1;
    AUTO_FREE struct journal_record *records = mem_array(count + 1, sizeof(*records));
    AUTO_FREE struct journal_state *state = mem_array(journal->leases.count + 1, sizeof(*state));
    for (const struct journal_batch *b = journal->batches; b; b = b->next)
        records[n++] = (struct journal_record){.type = JOURNAL_BATCH,
                                               .seq = b->seq,
                                               .final = b->final,
                                               .text = b->text,
                                               .len = b->len};
    for (const struct journal_lease *l = journal->leases.first; l; l = l->listed)
        state[states++] = l->sealed;
    records[n++] = (struct journal_record){.type = JOURNAL_CHECKPOINT,
                                           .seq = journal->next_seq - 1,
                                           .final = journal->final,
                                           .states = state,
                                           .count = states};
    return journal_log_rewrite(journal->dir, journal->id, &journal->log, records, n, err);
}

int journal_retire(struct journal *journal, struct err *err)
{
    int64_t applied = atomic_load_explicit(&journal->applied, memory_order_relaxed);
    while (journal->batches && journal->batches->seq <= applied) {
        struct journal_batch *batch = journal->batches;
        journal->batches = batch->next;
        if (!batch->next)
            journal->batches_end = &journal->batches;
        journal->unretired_bytes -= batch->len;
        atomic_fetch_sub_explicit(&journal->unretired, 1, memory_order_relaxed);
        free(batch->text);
        free(batch);
    }
    off_t wanted = (off_t)journal->unretired_bytes + COMPACT_MIN / 4;
    if (journal->log.size < COMPACT_MIN || journal->log.size < 2 * wanted || journal->log.broken)
        return 0;
    return compact(journal, err);
}

bool journal_done(const struct journal *journal)
{
    return journal->final && journal_unretired(journal) == 0;
}

struct journal_batch *journal_due(const struct journal *journal, int64_t resend_ns)
{
    struct journal_batch *batch = journal->batches;
    while (batch && batch->sent_ns && batch->sent_ns >= resend_ns)
        batch = batch->next;
    return batch;
}
