/* Leases against a model of subd and the ledger: whatever the order of asks, grants, refusals, time
 * and workers, no more is admitted than the quota, the last request of a quota is admitted, and in
 * the end what was granted is what was spent and what came back. */
#include "libcommon/mem.h"
#include "services/proxy/lease_book.h"
#include "services/proxy/lease_share.h"

#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SUB     "sub_0123456789abcdef0123456789abcdef"
#define WORKERS 3
#define SECOND  1000000000LL

struct world {
    char dir[64];
    struct journal *journal;
    struct lease_book_ops ops;
    struct lease_book *book;
    struct lease_purse purses[WORKERS];
    struct billing_waits shares[WORKERS];
    bool denied[WORKERS], failed[WORKERS];
    bool greedy; /* worker 0 spends what it gets before anybody else gets it */
    int64_t now_ns;
    int64_t limit, granted, next_id; /* subd's */
    int64_t lent[4096];              /* by lease */
    bool over[4096];
    int64_t ledger, admitted;
    struct lease_share *open[64]; /* exchanges under way */
    unsigned open_count;
    uint64_t random;
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}

static void lend(void *ctx, unsigned worker, struct lease *lease)
{
    struct world *w = ctx;
    lease_purse_add(&w->purses[worker], lease, &w->shares[worker]);
    w->denied[worker] = false;
    while (w->greedy && worker == 0 && lease_spend(lease, SUB_REQUESTS, 1))
        ;
}

static void deny(void *ctx, unsigned worker, const char *sub, const struct lease_refused *refused)
{
    struct world *w = ctx;
    assert_string_equal(sub, SUB);
    w->denied[worker] = refused != NULL;
    w->failed[worker] = refused == NULL;
}

static bool anchor(void *ctx, const struct lease_grant *grant)
{
    struct world *w = ctx;
    struct journal_identity id = {.lease = grant->id, .period = 1};
    strcpy(id.sub, SUB);
    strcpy(id.day, "2026-11-21");
    return journal_cell_open(w->journal, WORKERS, &id) != NULL;
}

static void closed(void *ctx, int64_t lease)
{
    struct world *w = ctx;
    assert_false(w->over[lease]);
    w->over[lease] = true;
    journal_lease_over(w->journal, lease);
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    struct err err;
    strcpy(w->dir, "/tmp/octroi-lease-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    if (journal_create(w->dir, WORKERS + 1, 4096, &w->journal, &err))
        fail_msg("%s", err.msg);
    w->ops = (struct lease_book_ops){
        .ctx = w, .lend = lend, .deny = deny, .anchor = anchor, .closed = closed};
    w->book = lease_book_new(&w->ops, 2);
    w->now_ns = SECOND;
    w->next_id = 1;
    w->random = 88172645463325252u;
    for (int i = 0; i < WORKERS; i++) {
        lease_purse_init(&w->purses[i]);
        billing_waits_init(&w->shares[i]);
    }
    *state = w;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *w = *state;
    lease_book_free(&w->book);
    journal_close(&w->journal);
    nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

/* subd: lends what is left, never more. */
static void answer(struct world *w)
{
    struct lease_ask asks[4];
    while (lease_book_wanting(w->book)) {
        size_t count = lease_book_collect(w->book, asks, 4, w->now_ns);
        assert_int_equal(count, 1);
        assert_true(asks[0].want[SUB_REQUESTS] >= 10);
        assert_int_equal(asks[0].want[SUB_BYTES], 0);
        if (draw(w, 20) == 0) {
            lease_book_failed(w->book, asks[0].sub);
            continue;
        }
        int64_t left = w->limit - w->granted;
        if (left == 0) {
            struct lease_refused refused = {.reason = LEASE_QUOTA_EXCEEDED, .kind = SUB_REQUESTS};
            strcpy(refused.sub, SUB);
            lease_book_refused(w->book, &refused);
            continue;
        }
        int64_t want = asks[0].want[SUB_REQUESTS];
        struct lease_grant grant = {.id = w->next_id++, .ttl_ms = 2000};
        strcpy(grant.sub, SUB);
        strcpy(grant.day, "2026-11-21");
        grant.amount[SUB_REQUESTS] = want < left ? want : left;
        grant.amount[SUB_BYTES] = grant.amount[SUB_MESSAGES] = grant.amount[SUB_COST] =
            LEASE_UNLIMITED;
        w->granted += grant.amount[SUB_REQUESTS];
        w->lent[grant.id] = grant.amount[SUB_REQUESTS];
        lease_book_granted(w->book, &grant, w->now_ns, w->now_ns);
    }
}

static void ask(struct world *w, unsigned worker, int64_t waiting)
{
    struct lease_book_want want = {
        .worker = worker, .limited = {[SUB_REQUESTS] = true}, .waiting = waiting};
    strcpy(want.sub, SUB);
    lease_book_want(w->book, &want, w->now_ns);
}

/* true: admitted. The exchange stays open for a while. */
static bool request(struct world *w, unsigned worker)
{
    struct lease_share *share;
    for (int round = 0; round < 100; round++) {
        enum lease_take take =
            lease_purse_take(&w->purses[worker], w->journal, worker, w->now_ns, &share);
        assert_int_not_equal(take, LEASE_FULL);
        if (take == LEASE_TAKEN) {
            if (lease_running_low(share->lease, w->now_ns))
                ask(w, worker, 0);
            w->open[w->open_count++] = share;
            return true;
        }
        w->denied[worker] = false;
        ask(w, worker, 1);
        answer(w);
        if (w->denied[worker] && !w->purses[worker].first)
            return false;
    }
    fail_msg("neither admitted nor refused");
    return false;
}

/* It is billed, or nothing was sent and it goes back. */
static void finish_one(struct world *w, unsigned i)
{
    struct lease_share *share = w->open[i];
    if (draw(w, 8) == 0) {
        lease_give_back(share->lease, SUB_REQUESTS, 1);
    } else {
        journal_cell_add(share->cell, JOURNAL_REQUESTS, 1);
        w->admitted++;
    }
    lease_share_unref(share);
    w->open[i] = w->open[--w->open_count];
}

/* What the journal reports, and what of closed leases returns to the quota. */
static void report(struct world *w, bool final)
{
    struct usage_batch batch;
    struct journal_batch *sent;
    struct err err;
    int64_t seq = 0;
    if (journal_seal(w->journal, final, &err))
        fail_msg("%s", err.msg);
    while ((sent = journal_due(w->journal, 0)) != NULL) {
        sent->sent_ns = 1;
        seq = sent->seq;
        assert_int_equal(usage_batch_decode(sent->text, sent->len, &batch, &err), 0);
        for (size_t i = 0; i < batch.count; i++) {
            const struct usage_entry *entry = &batch.entries[i];
            w->ledger += entry->requests;
            w->lent[entry->lease] -= entry->requests;
            assert_true(w->lent[entry->lease] >= 0); /* never more than was lent */
            if (entry->closed)
                w->granted -= w->lent[entry->lease];
        }
        usage_batch_clear(&batch);
    }
    journal_applied(w->journal, seq);
    assert_int_equal(journal_retire(w->journal, &err), 0);
}

static void end_all(struct world *w)
{
    while (w->open_count)
        finish_one(w, 0);
    for (int i = 0; i < WORKERS; i++)
        lease_purse_clear(&w->purses[i]);
    lease_book_free(&w->book);
    report(w, true);
}

static void step(struct world *w)
{
    unsigned worker = (unsigned)draw(w, WORKERS);
    switch (draw(w, 10)) {
    case 0:
        w->now_ns += (int64_t)draw(w, SECOND);
        break;
    case 1:
        lease_book_sweep(w->book, w->now_ns);
        break;
    case 2:
        lease_share_sweep(&w->shares[worker], w->now_ns);
        break;
    case 3:
        report(w, false);
        break;
    case 4:
        if (draw(w, 10) == 0)
            lease_book_changed(w->book, SUB);
        break;
    default:
        if (w->open_count == ARRAY_LEN(w->open))
            finish_one(w, (unsigned)draw(w, w->open_count));
        request(w, worker);
        w->now_ns += (int64_t)draw(w, 3000000);
    }
    while (w->open_count && draw(w, 2))
        finish_one(w, (unsigned)draw(w, w->open_count));
    assert_true(w->granted <= w->limit);
}

static void test_model(void **state)
{
    struct world *w = *state;
    w->limit = 700;
    for (int i = 0; i < 20000 && w->next_id < 4000; i++)
        step(w);
    end_all(w);
    assert_int_equal(w->ledger, w->admitted);
    assert_int_equal(w->granted, w->admitted); /* everything else came back */
    assert_true(w->admitted <= w->limit);
    assert_true(w->admitted > w->limit / 2);
    for (int64_t id = 1; id < w->next_id; id++)
        assert_true(w->over[id]);
}

/* One after the other: every one of the quota, and not one more. */
static void test_exact(void **state)
{
    static const int64_t limits[] = {1, 5, 10, 11, 20, 37, 1000};
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        w->limit = limits[i];
        w->granted = 0;
        for (int64_t n = 0; n < limits[i]; n++) {
            if (!request(w, 0))
                fail_msg("request %lld of %lld", (long long)n + 1, (long long)limits[i]);
            answer(w);
            w->now_ns += 1000000;
            lease_share_unref(w->open[--w->open_count]);
        }
        assert_false(request(w, 0));
        lease_share_sweep(&w->shares[0], w->now_ns);
        lease_book_sweep(w->book, w->now_ns);
    }
}

/* A lease is lent to a second worker without asking subd. */
static void test_shared(void **state)
{
    struct world *w = *state;
    w->limit = 100;
    assert_true(request(w, 0));
    int64_t leases = w->next_id;
    ask(w, 1, 1);
    assert_false(lease_book_wanting(w->book));
    assert_true(request(w, 1));
    assert_int_equal(w->next_id, leases);
    assert_ptr_equal(w->open[0]->lease, w->open[1]->lease);
    assert_ptr_not_equal(w->open[0]->cell, w->open[1]->cell);
    while (w->open_count)
        lease_share_unref(w->open[--w->open_count]);
    lease_purse_clear(&w->purses[0]);
    lease_purse_clear(&w->purses[1]);
}

/* What another worker has spent before it arrived is no failure: it is asked for again. */
static void test_greedy(void **state)
{
    struct world *w = *state;
    struct lease_share *share;
    w->limit = 30;
    w->random = 3; /* no answer gets lost */
    w->greedy = true;
    ask(w, 0, 1);
    ask(w, 1, 1);
    answer(w);
    assert_false(w->failed[1]);
    assert_non_null(w->purses[1].first);
    assert_int_equal(lease_purse_take(&w->purses[1], w->journal, 1, w->now_ns, &share),
                     LEASE_EMPTY);
    ask(w, 1, 1);
    assert_true(lease_book_wanting(w->book));
    lease_purse_clear(&w->purses[0]);
}

/* Time: nothing on a lease that is over; it is closed when its last exchange ends, not before. */
static void test_deadline(void **state)
{
    struct world *w = *state;
    w->limit = 1000;
    assert_true(request(w, 0));
    w->now_ns += 2 * SECOND; /* the ttl */
    assert_false(lease_share_usable(w->open[0], w->now_ns));
    lease_share_sweep(&w->shares[0], w->now_ns);
    lease_book_sweep(w->book, w->now_ns);
    assert_int_equal(lease_book_count(w->book), 0);
    assert_false(w->over[1]);
    journal_cell_add(w->open[0]->cell, JOURNAL_REQUESTS, 1);
    lease_share_unref(w->open[--w->open_count]);
    assert_true(w->over[1]);
    report(w, false);
    assert_int_equal(w->ledger, 1);
    assert_int_equal(w->granted, 1);
}

static void test_idle(void **state)
{
    struct world *w = *state;
    w->limit = 1000;
    assert_true(request(w, 0));
    lease_share_unref(w->open[--w->open_count]);
    lease_book_sweep(w->book, w->now_ns + SECOND / 2);
    assert_int_equal(lease_book_count(w->book), 1);
    lease_book_sweep(w->book, w->now_ns + 6 * SECOND);
    assert_int_equal(lease_book_count(w->book), 0);
    lease_share_sweep(&w->shares[0], w->now_ns + SECOND);
    assert_null(w->purses[0].first); /* retired before its time */
}

/* Threads that spend one lease as fast as they can take exactly what is in it. */
static void *spend(void *arg)
{
    struct lease *lease = arg;
    size_t taken = 0;
    while (lease_spend(lease, SUB_REQUESTS, 1))
        taken++;
    return (void *)taken;
}

static void no_close(void *ctx, int64_t lease)
{
    (void)ctx, (void)lease;
}

/* Leases come and go faster than a burst fills up again. */
static void test_rate_outlives_leases(void **state)
{
    struct world *w = *state;
    int64_t retry_ns;
    w->limit = 1000;
    assert_true(request(w, 0));
    struct lease_account *account = w->open[0]->lease->account;
    for (int i = 0; i < 20; i++)
        assert_true(gcra_take(&account->rate, 1, 20, w->now_ns, &retry_ns));
    assert_false(gcra_take(&account->rate, 1, 20, w->now_ns, &retry_ns));
    lease_share_unref(w->open[--w->open_count]);
    w->now_ns += 6 * SECOND;
    lease_book_sweep(w->book, w->now_ns);
    lease_share_sweep(&w->shares[0], w->now_ns);
    assert_int_equal(lease_book_count(w->book), 0);
    assert_true(request(w, 0));
    assert_ptr_equal(w->open[0]->lease->account, account);
    lease_share_unref(w->open[--w->open_count]);
    w->now_ns += 20 * SECOND;
    lease_book_sweep(w->book, w->now_ns);
    lease_share_sweep(&w->shares[0], w->now_ns);
    assert_true(request(w, 0));
    assert_int_equal(w->open[0]->lease->account->rate.arrival_ns, 0);
    lease_share_unref(w->open[--w->open_count]);
    lease_purse_clear(&w->purses[0]);
}

static void test_threads(void **state)
{
    struct lease_grant grant = {
        .id = 1, .ttl_ms = 1000, .amount = {100000, LEASE_UNLIMITED, 0, LEASE_UNLIMITED}};
    struct lease_account *account = lease_account_new();
    struct lease *lease = lease_new(&grant, 0, account, no_close, NULL);
    pthread_t threads[4];
    size_t total = 0;
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spend, lease), 0);
    for (int i = 0; i < 4; i++) {
        void *taken;
        pthread_join(threads[i], &taken);
        total += (size_t)taken;
    }
    assert_int_equal(total, 100000);
    assert_true(lease_spent(lease));
    assert_true(lease_spend(lease, SUB_BYTES, 1 << 30));
    assert_int_equal(lease_charge(lease, SUB_BYTES, 1), INT64_MAX);
    lease_give_back(lease, SUB_REQUESTS, 1);
    assert_false(lease_spend(lease, SUB_REQUESTS, 2));
    assert_true(lease_spend(lease, SUB_REQUESTS, 1));
    lease_unref(lease);
    lease_account_unref(account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_greedy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate_outlives_leases, setup, teardown),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
