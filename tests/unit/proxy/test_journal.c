/* The journal against a model of the ledger: whatever is cut, torn, killed, refused by the disk or
 * taken over, each thing counted arrives once. */
#include "libcommon/mem.h"
#include "services/proxy/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LEASES 5000
#define SUB    "sub_0123456789abcdef0123456789abcdef"

/* What subd does: each batch once, in order, repeats only of the same bytes. */
struct ledger {
    int64_t watermark;
    char *seen[512]; /* text by seq */
    int64_t requests[LEASES], bytes_in[LEASES], bytes_out[LEASES], cost[LEASES];
    unsigned closed[LEASES];
    bool final;
};

struct fixture {
    char dir[64];
    struct ledger ledger;
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    strcpy(f->dir, "/tmp/octroi-journal-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static void ledger_reset(struct ledger *ledger)
{
    for (size_t i = 0; i < ARRAY_LEN(ledger->seen); i++)
        free(ledger->seen[i]);
    memset(ledger, 0, sizeof(*ledger));
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ledger_reset(&f->ledger);
    free(f);
    return 0;
}

static void apply_entry(struct ledger *ledger, const struct usage_entry *entry)
{
    assert_in_range(entry->lease, 1, LEASES - 1);
    assert_string_equal(entry->sub, SUB);
    assert_string_equal(entry->day, "2026-11-21");
    assert_int_equal(entry->period, 1790000000);
    assert_int_equal(ledger->closed[entry->lease], 0);
    ledger->requests[entry->lease] += entry->requests;
    ledger->bytes_in[entry->lease] += entry->bytes_in;
    ledger->bytes_out[entry->lease] += entry->bytes_out;
    ledger->cost[entry->lease] += entry->cost;
    ledger->closed[entry->lease] += entry->closed;
}

static void apply(struct ledger *ledger, const char *id, const struct journal_batch *sent)
{
    struct usage_batch batch;
    struct err err;
    assert_int_equal(usage_batch_decode(sent->text, sent->len, &batch, &err), 0);
    assert_string_equal(batch.journal, id);
    assert_int_equal(batch.seq, sent->seq);
    assert_true(batch.seq < (int64_t)ARRAY_LEN(ledger->seen));
    if (batch.seq <= ledger->watermark) {
        assert_string_equal(ledger->seen[batch.seq], sent->text);
    } else {
        assert_int_equal(batch.seq, ledger->watermark + 1);
        assert_false(ledger->final);
        for (size_t i = 0; i < batch.count; i++)
            apply_entry(ledger, &batch.entries[i]);
        ledger->watermark = batch.seq;
        ledger->final = batch.final;
        ledger->seen[batch.seq] = mem_strdup(sent->text);
    }
    usage_batch_clear(&batch);
}

/* Everything that is to be sent reaches the ledger; `retire` says so to the journal. */
static void send_all(struct ledger *ledger, struct journal *journal, bool retire)
{
    struct journal_batch *batch;
    struct err err;
    while ((batch = journal_due(journal, 0)) != NULL) {
        apply(ledger, journal_id(journal), batch);
        batch->sent_ns = 1;
    }
    if (!retire)
        return;
    journal_applied(journal, ledger->watermark);
    assert_int_equal(journal_retire(journal, &err), 0);
}

static struct journal_identity identity(int64_t lease)
{
    struct journal_identity id = {.lease = lease, .period = 1790000000};
    strcpy(id.sub, SUB);
    strcpy(id.day, "2026-11-21");
    return id;
}

static struct journal *create(const struct fixture *f, unsigned regions, unsigned cells)
{
    struct journal *journal;
    struct err err;
    if (journal_create(f->dir, regions, cells, &journal, &err))
        fail_msg("%s", err.msg);
    return journal;
}

static struct journal_cell *open_cell(struct journal *journal, unsigned region, int64_t lease)
{
    struct journal_identity id = identity(lease);
    return journal_cell_open(journal, region, &id);
}

static void seal(struct journal *journal, bool final)
{
    struct err err;
    if (journal_seal(journal, final, &err))
        fail_msg("%s", err.msg);
}

static struct journal *adopt(const struct fixture *f, const char *id)
{
    struct journal *journal;
    struct err err;
    if (journal_adopt(f->dir, id, &journal, &err))
        fail_msg("%s", err.msg);
    return journal;
}

/* The whole way of a journal that somebody left, into the ledger, and nothing remains. */
static void settle(struct fixture *f, const char *id)
{
    struct journal *journal = adopt(f, id);
    assert_non_null(journal);
    assert_true(journal_adopted(journal));
    send_all(&f->ledger, journal, true);
    assert_true(f->ledger.final);
    assert_true(journal_done(journal));
    journal_remove(&journal);
    char ids[4][LEASE_JOURNAL_LEN + 1];
    assert_int_equal(journal_scan(f->dir, ids, 4), 0);
}

static void path_of(const struct fixture *f, const char *id, const char *suffix, char out[128])
{
    snprintf(out, 128, "%s/%s.%s", f->dir, id, suffix);
}

static char *read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    char *data = mem_alloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    close(fd);
    *len = (size_t)st.st_size;
    return data;
}

static void write_file(const char *path, const char *data, size_t len)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static void test_deltas(void **state)
{
    struct fixture *f = *state;
    struct journal *journal = create(f, 2, 8);
    struct journal_cell *a = open_cell(journal, 0, 1), *b = open_cell(journal, 1, 1);
    journal_cell_add(a, JOURNAL_REQUESTS, 3);
    journal_cell_add(b, JOURNAL_REQUESTS, 4);
    journal_cell_add(b, JOURNAL_UNDONE, 1);
    journal_cell_add(b, JOURNAL_BYTES_OUT, 1000);
    seal(journal, false);
    send_all(&f->ledger, journal, false);
    assert_int_equal(f->ledger.requests[1], 6);
    assert_int_equal(f->ledger.bytes_out[1], 1000);
    seal(journal, false);
    assert_int_equal(journal_unretired(journal), 1);
    journal_cell_add(a, JOURNAL_UNDONE, 2);
    seal(journal, false);
    send_all(&f->ledger, journal, true);
    assert_int_equal(f->ledger.requests[1], 4);
    assert_int_equal(journal_unretired(journal), 0);
    assert_int_equal(f->ledger.watermark, 2);
    seal(journal, true);
    send_all(&f->ledger, journal, true);
    assert_true(f->ledger.final && f->ledger.closed[1] == 1);
    assert_true(journal_done(journal));
    journal_remove(&journal);
}

/* A batch was sealed between the mark of a query and its undoing: the next one is not poison, for
 * all that follows it would wait for ever. */
static void test_cost_taken_back(void **state)
{
    struct fixture *f = *state;
    struct journal *journal = create(f, 1, 8);
    struct journal_cell *cell = open_cell(journal, 0, 1);
    journal_cell_add(cell, JOURNAL_REQUESTS, 1);
    journal_cell_add(cell, JOURNAL_COST, 40);
    seal(journal, false);
    send_all(&f->ledger, journal, false);
    assert_int_equal(f->ledger.cost[1], 40);
    journal_cell_add(cell, JOURNAL_UNDONE, 1);
    journal_cell_add(cell, JOURNAL_COST_UNDONE, 40);
    seal(journal, false);
    send_all(&f->ledger, journal, true);
    assert_int_equal(f->ledger.cost[1], 0);
    assert_int_equal(f->ledger.requests[1], 0);
    seal(journal, true);
    send_all(&f->ledger, journal, true);
    assert_true(journal_done(journal));
    journal_remove(&journal);
}

static void test_resend(void **state)
{
    struct fixture *f = *state;
    struct journal *journal = create(f, 1, 8);
    struct journal_cell *cell = open_cell(journal, 0, 1);
    for (int i = 0; i < 3; i++) {
        journal_cell_add(cell, JOURNAL_REQUESTS, 1);
        seal(journal, false);
    }
    struct journal_batch *batch = journal_due(journal, 100);
    assert_int_equal(batch->seq, 1);
    batch->sent_ns = 50;
    assert_int_equal(journal_due(journal, 100)->seq, 1);
    assert_int_equal(journal_due(journal, 50)->seq, 2);
    batch->sent_ns = 150;
    assert_int_equal(journal_due(journal, 100)->seq, 2);
    batch->sent_ns = 0;
    send_all(&f->ledger, journal, false);
    batch->sent_ns = 0;
    send_all(&f->ledger, journal, false); /* the ledger compares the bytes */
    journal_applied(journal, 2);
    journal_applied(journal, 1); /* an older answer that came late */
    struct err err;
    assert_int_equal(journal_retire(journal, &err), 0);
    assert_int_equal(journal_unretired(journal), 1);
    journal_close(&journal);
}

static void test_recycling(void **state)
{
    struct fixture *f = *state;
    struct journal *journal = create(f, 2, 4);
    for (int64_t lease = 1; lease <= 100; lease++) {
        struct journal_cell *anchor = open_cell(journal, 1, lease);
        struct journal_cell *cell = open_cell(journal, 0, lease);
        assert_non_null(anchor);
        assert_non_null(cell);
        assert_int_equal(atomic_load(&cell->counters[JOURNAL_REQUESTS]), 0);
        journal_cell_add(cell, JOURNAL_REQUESTS, (uint64_t)lease);
        journal_lease_over(journal, lease);
        seal(journal, false);
        send_all(&f->ledger, journal, lease % 3 == 0);
    }
    send_all(&f->ledger, journal, true);
    for (int64_t lease = 1; lease <= 100; lease++) {
        assert_int_equal(f->ledger.requests[lease], lease);
        assert_int_equal(f->ledger.closed[lease], 1);
    }
    journal_close(&journal);
}

/* A lease that was granted and never spent is closed too: its anchor knows it. */
static void test_unspent(void **state)
{
    struct fixture *f = *state;
    struct journal *journal = create(f, 1, 4);
    open_cell(journal, 0, 7);
    seal(journal, false);
    assert_int_equal(journal_unretired(journal), 0);
    journal_lease_over(journal, 7);
    seal(journal, false);
    send_all(&f->ledger, journal, true);
    assert_int_equal(f->ledger.closed[7], 1);
    assert_int_equal(f->ledger.requests[7], 0);
    journal_close(&journal);
}

static void test_full(void **state)
{
    struct fixture *f = *state;
    struct journal *journal = create(f, 2, 3);
    for (int64_t i = 1; i <= 3; i++)
        assert_non_null(open_cell(journal, 0, i));
    assert_null(open_cell(journal, 0, 4));
    assert_non_null(open_cell(journal, 1, 4));
    journal_lease_over(journal, 2);
    assert_null(open_cell(journal, 0, 5));
    seal(journal, false);
    assert_non_null(open_cell(journal, 0, 5));
    assert_null(open_cell(journal, 0, 6));
    journal_close(&journal);
}

static void limit_files(rlim_t size)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk takes no more, in the middle of a record: nothing more is served, nothing is lost. */
static void test_unwritable(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char path[128];
    size_t len;
    signal(SIGXFSZ, SIG_IGN);
    struct journal *journal = create(f, 1, 8);
    struct journal_cell *cell = open_cell(journal, 0, 1);
    journal_cell_add(cell, JOURNAL_REQUESTS, 5);
    seal(journal, false);
    path_of(f, journal_id(journal), "log", path);
    free(read_file(path, &len));
    journal_cell_add(cell, JOURNAL_REQUESTS, 2);
    limit_files(len + 100);
    assert_int_equal(journal_seal(journal, false, &err), -1);
    assert_false(journal_writable(journal));
    assert_null(open_cell(journal, 0, 2));
    size_t after;
    free(read_file(path, &after));
    assert_int_equal(after, len);
    journal_cell_add(cell, JOURNAL_REQUESTS, 1);
    limit_files(RLIM_INFINITY);
    seal(journal, false);
    assert_true(journal_writable(journal));
    send_all(&f->ledger, journal, false);
    assert_int_equal(f->ledger.requests[1], 8);
    char id[LEASE_JOURNAL_LEN + 1];
    strcpy(id, journal_id(journal));
    journal_close(&journal);
    settle(f, id);
    assert_int_equal(f->ledger.requests[1], 8);
}

/* The log cut at every byte of its last record, with the cells as they were before and after the
 * seal: every state that a kill, or a power loss, can leave. */
static void test_every_cut(void **state)
{
    struct fixture *f = *state;
    char log[128], live[128], id[LEASE_JOURNAL_LEN + 1];
    size_t before_len, after_len, live_len;
    struct journal *journal = create(f, 1, 8);
    strcpy(id, journal_id(journal));
    path_of(f, id, "log", log);
    path_of(f, id, "live", live);
    struct journal_cell *one = open_cell(journal, 0, 1), *two = open_cell(journal, 0, 2);
    journal_cell_add(one, JOURNAL_REQUESTS, 10);
    seal(journal, false);
    free(read_file(log, &before_len));
    journal_cell_add(one, JOURNAL_REQUESTS, 5);
    journal_cell_add(one, JOURNAL_BYTES_IN, 77);
    journal_cell_add(two, JOURNAL_REQUESTS, 3);
    journal_lease_over(journal, 2);
    AUTO_FREE char *cells_before = read_file(live, &live_len);
    seal(journal, false); /* closes 2 and recycles its cell */
    AUTO_FREE char *after = read_file(log, &after_len);
    AUTO_FREE char *cells_after = read_file(live, &live_len);
    journal_close(&journal);
    for (size_t cut = before_len; cut <= after_len; cut++) {
        for (int recycled = 0; recycled <= (cut == after_len); recycled++) {
            ledger_reset(&f->ledger);
            write_file(log, after, cut);
            write_file(live, recycled ? cells_after : cells_before, live_len);
            settle(f, id);
            assert_int_equal(f->ledger.requests[1], 15);
            assert_int_equal(f->ledger.bytes_in[1], 77);
            assert_int_equal(f->ledger.requests[2], 3);
            assert_int_equal(f->ledger.closed[1], 1);
            assert_int_equal(f->ledger.closed[2], 1);
        }
    }
}

/* The same, where the adopter dies as well, at every byte of what it writes. */
static void test_adopter_dies(void **state)
{
    struct fixture *f = *state;
    char log[128], live[128], id[LEASE_JOURNAL_LEN + 1];
    size_t before_len, after_len, live_len;
    struct journal *journal = create(f, 1, 8);
    strcpy(id, journal_id(journal));
    path_of(f, id, "log", log);
    path_of(f, id, "live", live);
    journal_cell_add(open_cell(journal, 0, 1), JOURNAL_REQUESTS, 10);
    seal(journal, false);
    send_all(&f->ledger, journal, false);
    journal_cell_add(open_cell(journal, 0, 2), JOURNAL_REQUESTS, 3);
    journal_close(&journal);
    free(read_file(log, &before_len));
    AUTO_FREE char *cells = read_file(live, &live_len);
    journal = adopt(f, id);
    AUTO_FREE char *after = read_file(log, &after_len);
    journal_close(&journal);
    for (size_t cut = before_len; cut <= after_len; cut++) {
        ledger_reset(&f->ledger);
        write_file(log, after, cut);
        write_file(live, cells, live_len);
        settle(f, id);
        assert_int_equal(f->ledger.requests[1], 10);
        assert_int_equal(f->ledger.requests[2], 3);
    }
}

static void test_damage(void **state)
{
    struct fixture *f = *state;
    char log[128], live[128], id[LEASE_JOURNAL_LEN + 1];
    size_t log_len, live_len;
    struct err err;
    struct journal *journal = create(f, 1, 8);
    strcpy(id, journal_id(journal));
    path_of(f, id, "log", log);
    path_of(f, id, "live", live);
    struct journal_cell *cell = open_cell(journal, 0, 1);
    for (int i = 0; i < 3; i++) {
        journal_cell_add(cell, JOURNAL_REQUESTS, 1);
        seal(journal, false);
    }
    journal_close(&journal);
    AUTO_FREE char *data = read_file(log, &log_len);
    AUTO_FREE char *cells = read_file(live, &live_len);

    static const struct {
        const char *what;
        bool in_log;
        size_t at;
    } cases[] = {{"the log's middle", true, 120},
                 {"the header", false, 9},
                 {"a cell's identity", false, 4096 + 3}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *victim = cases[i].in_log ? data : cells;
        victim[cases[i].at] ^= 1;
        write_file(log, data, log_len);
        write_file(live, cells, live_len);
        victim[cases[i].at] ^= 1;
        if (journal_adopt(f->dir, id, &journal, &err) != -1)
            fail_msg("%s", cases[i].what);
        assert_null(journal);
        assert_int_equal(access(log, F_OK), -1); /* set aside */
        assert_int_equal(access(live, F_OK), -1);
    }
    write_file(log, data, log_len);
    write_file(live, cells, live_len);
    settle(f, id);
    assert_int_equal(f->ledger.requests[1], 3);
}

/* The live file was on memory that a power loss emptied: the sealed batches are still there. */
static void test_log_alone(void **state)
{
    struct fixture *f = *state;
    char live[128], id[LEASE_JOURNAL_LEN + 1];
    struct journal *journal = create(f, 1, 8);
    strcpy(id, journal_id(journal));
    path_of(f, id, "live", live);
    journal_cell_add(open_cell(journal, 0, 1), JOURNAL_REQUESTS, 4);
    seal(journal, false);
    journal_close(&journal);
    unlink(live);
    settle(f, id);
    assert_int_equal(f->ledger.requests[1], 4);
    assert_int_equal(f->ledger.closed[1], 1);
}

static void test_silent(void **state)
{
    struct fixture *f = *state;
    char ids[4][LEASE_JOURNAL_LEN + 1];
    struct journal *journal = create(f, 1, 8);
    char id[LEASE_JOURNAL_LEN + 1];
    strcpy(id, journal_id(journal));
    journal_close(&journal);
    assert_null(adopt(f, id));
    assert_int_equal(journal_scan(f->dir, ids, 4), 0);
    journal = create(f, 1, 8);
    strcpy(id, journal_id(journal));
    journal_lease_asked(journal); /* an answer may have been lost */
    journal_close(&journal);
    settle(f, id);
    assert_int_equal(f->ledger.watermark, 1);
}

static void test_busy(void **state)
{
    struct fixture *f = *state;
    char ids[4][LEASE_JOURNAL_LEN + 1];
    struct journal *journal = create(f, 1, 8);
    journal_cell_add(open_cell(journal, 0, 1), JOURNAL_REQUESTS, 1);
    assert_int_equal(journal_scan(f->dir, ids, 4), 1);
    assert_string_equal(ids[0], journal_id(journal));
    assert_null(adopt(f, ids[0]));
    seal(journal, true);
    assert_null(adopt(f, ids[0]));
    journal_close(&journal);
    settle(f, ids[0]);
}

/* Thousands of leases take several batches, of which only the last is final. */
static void test_many(void **state)
{
    struct fixture *f = *state;
    struct journal *journal = create(f, 1, LEASES);
    for (int64_t lease = 1; lease < LEASES; lease++)
        journal_cell_add(open_cell(journal, 0, lease), JOURNAL_REQUESTS, (uint64_t)lease % 7);
    seal(journal, false);
    seal(journal, true);
    send_all(&f->ledger, journal, true);
    assert_true(f->ledger.final);
    for (int64_t lease = 1; lease < LEASES; lease++) {
        assert_int_equal(f->ledger.requests[lease], lease % 7);
        assert_int_equal(f->ledger.closed[lease], 1);
    }
    journal_remove(&journal);
}

/* Applied batches leave the log; what they sealed is not forgotten. */
static void test_compaction(void **state)
{
    struct fixture *f = *state;
    char log[128], id[LEASE_JOURNAL_LEN + 1];
    size_t len;
    struct journal *journal = create(f, 1, 2000);
    strcpy(id, journal_id(journal));
    path_of(f, id, "log", log);
    struct journal_cell *cells[1000];
    for (int64_t i = 0; i < 1000; i++)
        cells[i] = open_cell(journal, 0, i + 1);
    for (int round = 1; round <= 10; round++) {
        for (int64_t i = 0; i < 1000; i++)
            if (cells[i] && (i < 900 || round == 1)) /* the last hundred are idle from then on */
                journal_cell_add(cells[i], JOURNAL_REQUESTS, 1);
        for (int64_t i = 0; i < 50; i++) {
            cells[round * 50 + i] = NULL;
            journal_lease_over(journal, round * 50 + i + 1);
        }
        seal(journal, false);
        send_all(&f->ledger, journal, round != 10);
    }
    free(read_file(log, &len));
    assert_true(len < 2 * 500 * 1000);
    journal_close(&journal);
    settle(f, id);
    for (int64_t i = 0; i < 1000; i++) {
        int64_t over = i / 50 >= 1 && i / 50 <= 10 ? i / 50 : 10;
        assert_int_equal(f->ledger.requests[i + 1], i < 900 ? over : 1);
        assert_int_equal(f->ledger.closed[i + 1], 1);
    }
}

/* What the child shares with the parent, to be judged after its death. */
struct served {
    _Atomic uint64_t served[3];
    char id[LEASE_JOURNAL_LEN + 1];
    _Atomic bool ready;
};

struct job {
    struct journal *journal;
    struct served *served;
    unsigned region;
};

static void *serve(void *arg)
{
    const struct job *job = arg;

    int64_t lease = job->region + 1;
    struct journal_cell *cell = open_cell(job->journal, job->region, lease);
    for (;;) {
        journal_cell_add(cell, JOURNAL_REQUESTS, 1);
        atomic_fetch_add(&job->served->served[job->region], 1);
        journal_cell_add(cell, JOURNAL_BYTES_OUT, 1);
    }
    return NULL;
}

static void child(const struct fixture *f, struct served *served)
{
    struct err err;
    struct journal *journal = create(f, 3, 64);
    pthread_t threads[2];

    struct job jobs[2] = {{journal, served, 0}, {journal, served, 1}};

    strcpy(served->id, journal_id(journal));
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, serve, &jobs[i]))
            _exit(1);
    atomic_store(&served->ready, true);
    int64_t lease = 100;
    for (;; lease = lease < 400 ? lease + 1 : lease) { /* a lease that comes, is spent and goes */
        if (lease < 400) {
            struct journal_cell *cell = open_cell(journal, 2, lease);
            if (!cell)
                _exit(2);
            journal_cell_add(cell, JOURNAL_REQUESTS, 1);
            atomic_fetch_add(&served->served[2], 1);
            journal_lease_over(journal, lease);
        }
        if (lease < 400 && journal_seal(journal, false, &err))
            _exit(3);
    }
}

/* Real processes, killed at whatever they are doing. */
static void test_kill(void **state)
{
    struct fixture *f = *state;
    struct served *served =
        mmap(NULL, sizeof(*served), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(served, MAP_FAILED);
    for (uint64_t round = 0; round < 25; round++) {
        memset(served, 0, sizeof(*served));
        ledger_reset(&f->ledger);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            child(f, served);
        while (!atomic_load(&served->ready) || atomic_load(&served->served[2]) < 1 + 4 * round)
            sched_yield();
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        settle(f, served->id);
        for (int i = 0; i < 2; i++) {
            int64_t real = (int64_t)atomic_load(&served->served[i]);
            assert_in_range(f->ledger.requests[i + 1], real, real + 1);
            assert_in_range(f->ledger.requests[i + 1] - f->ledger.bytes_out[i + 1], 0, 1);
        }
        int64_t short_lived = 0;
        for (int lease = 100; lease < 400; lease++)
            short_lived += f->ledger.requests[lease];
        int64_t real = (int64_t)atomic_load(&served->served[2]);
        assert_in_range(short_lived, real, real + 1);
    }
    munmap(served, sizeof(*served));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deltas, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cost_taken_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recycling, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unspent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopter_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
