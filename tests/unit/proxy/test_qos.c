/* The room that spends: what passes, what waits, what is refused and with which problem, and what
 * goes back. A worker and a billing object without threads; leases are put into purses by hand. */
#include "libcommon/mem.h"
#include "services/proxy/billing_internal.h"
#include "services/proxy/request.h"
#include "services/proxy/stats.h"
#include "services/proxy/worker_private.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SUB    "sub_0123456789abcdef0123456789abcdef"
#define NOW_S  1790000000LL
#define SECOND 1000000000LL

struct world {
    char dir[64];
    struct worker worker;
    struct worker_private priv;
    struct billing billing;
    struct metrics *metrics;
    struct subscription *sub;
    struct lease_account *account;
    int64_t next_lease;
};

static void on_closed(void *ctx, int64_t lease)
{
    (void)ctx, (void)lease;
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    struct err err;
    strcpy(w->dir, "/tmp/octroi-qos-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->metrics = metrics_new(proxy_metrics, STATS_COUNT);
    w->worker = (struct worker){
        .now_ns = 100 * SECOND, .wall_ms = NOW_S * 1000, .metrics = w->metrics, .priv = &w->priv};
    timer_wheel_init(&w->priv.timers, 100000);
    pthread_mutex_init(&w->billing.mutex, NULL);
    pthread_cond_init(&w->billing.wake, NULL);
    if (journal_create(w->dir, 1, 4, &w->billing.journal, &err))
        fail_msg("%s", err.msg);
    w->worker.billing = billing_worker_new(&w->billing, &w->worker);
    w->sub = subtable_get(w->worker.billing->subs, SUB);
    w->sub->record.state = SUB_ACTIVE;
    w->sub->record.expiry = NOW_S + 1000;
    w->account = lease_account_new();
    w->billing.config.grace_ms = 900 * 1000;
    w->billing.beat_ns = w->worker.now_ns;
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
    assert_int_equal(w->worker.billing->waiting, 0);
    billing_worker_free(&w->worker.billing);
    lease_account_unref(w->account);
    journal_close(&w->billing.journal);
    billing_queue_clear(&w->billing.queue);
    metrics_free(&w->metrics);
    nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

static void lend_all(struct world *w, int64_t requests, int64_t bytes, int64_t messages)
{
    struct lease_grant grant = {
        .id = ++w->next_lease, .ttl_ms = 60000, .day = "2026-11-21", .sub = SUB};
    grant.amount[SUB_REQUESTS] = requests;
    grant.amount[SUB_BYTES] = bytes;
    grant.amount[SUB_MESSAGES] = messages;
    grant.amount[SUB_COST] = LEASE_UNLIMITED;
    lease_purse_add(&w->sub->purse,
                    lease_new(&grant, w->worker.now_ns, w->account, on_closed, NULL),
                    &w->worker.billing->shares);
}

static void lend(struct world *w, int64_t requests, int64_t bytes)
{
    lend_all(w, requests, bytes, LEASE_UNLIMITED);
}

static void begin(struct world *w, struct request *request)
{
    memset(request, 0, sizeof(*request));
    h2o_mem_init_pool(&request->pool);
    request->worker = &w->worker;
    request->auth.sub = w->sub;
}

static void end(struct request *request)
{
    room_qos.leave(request);
    h2o_mem_clear_pool(&request->pool);
}

static enum room_result try_one(struct world *w, enum problem *problem, int64_t *retry_after_s)
{
    struct request request;
    begin(w, &request);
    enum room_result result = room_qos.enter(&request);
    if (result == ROOM_NEXT)
        meter_mark(&request);
    *problem = request.problem;
    *retry_after_s = request.retry_after_s;
    end(&request);
    return result;
}

static void test_spends(void **state)
{
    struct world *w = *state;
    enum problem problem;
    int64_t after;
    lend(w, 2, LEASE_UNLIMITED);
    lend(w, 1, LEASE_UNLIMITED);
    for (int i = 0; i < 3; i++)
        assert_int_equal(try_one(w, &problem, &after), ROOM_NEXT);
    assert_int_equal(try_one(w, &problem, &after), ROOM_WAIT);
    assert_null(w->sub->purse.first);
}

static void test_gives_back(void **state)
{
    struct world *w = *state;
    lend(w, 1, LEASE_UNLIMITED);
    for (int i = 0; i < 5; i++) { /* never sent to an origin */
        struct request request;
        begin(w, &request);
        assert_int_equal(room_qos.enter(&request), ROOM_NEXT);
        assert_non_null(request.meter.cell);
        end(&request);
        assert_null(request.meter.cell);
    }
    assert_int_equal(atomic_load(&w->sub->purse.first->lease->left[SUB_REQUESTS]), 1);
}

static void test_waits_once_asks_once(void **state)
{
    struct world *w = *state;
    struct request requests[3];
    w->sub->record.limits.quota[SUB_REQUESTS] = 100;
    for (int i = 0; i < 3; i++) {
        begin(w, &requests[i]);
        assert_int_equal(room_qos.enter(&requests[i]), ROOM_WAIT);
    }
    assert_int_equal(w->billing.queue.want_count, 1);
    assert_string_equal(w->billing.queue.wants[0].sub, SUB);
    assert_true(w->billing.queue.wants[0].limited[SUB_REQUESTS]);
    assert_false(w->billing.queue.wants[0].limited[SUB_BYTES]);
    assert_int_equal(w->worker.billing->waiting, 3);
    for (int i = 0; i < 3; i++)
        end(&requests[i]); /* their clients went away */
    assert_true(billing_waits_empty(&w->sub->purse.waiting));
}

static void test_refusals(void **state)
{
    static const struct {
        enum lease_refusal reason;
        bool answered;
        int64_t age_ns, subd_after;
        enum room_result result;
        enum problem problem;
        int64_t retry_after_s;
    } cases[] = {
        {LEASE_QUOTA_EXCEEDED, true, 0, 3600, ROOM_REJECT, PROBLEM_QUOTA_EXCEEDED, 3600},
        {LEASE_QUOTA_EXCEEDED, true, 0, 0, ROOM_REJECT, PROBLEM_QUOTA_EXCEEDED, 1},
        {LEASE_QUOTA_EXCEEDED, true, SECOND, 3600, ROOM_WAIT, PROBLEM_NONE, 0},
        {LEASE_PAYMENT_REQUIRED, true, 0, 0, ROOM_REJECT, PROBLEM_PAYMENT_REQUIRED, 0},
        {0, false, 0, 0, ROOM_REJECT, PROBLEM_BILLING_UNAVAILABLE, 1},
        {0, false, SECOND / 2, 0, ROOM_WAIT, PROBLEM_NONE, 0},
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct lease_purse *purse = &w->sub->purse;
        enum problem problem;
        int64_t after;
        purse->refused_ns = cases[i].answered ? w->worker.now_ns - cases[i].age_ns : 0;
        purse->failed_ns = cases[i].answered ? 0 : w->worker.now_ns - cases[i].age_ns;
        purse->refused = (struct lease_refused){
            .reason = cases[i].reason, .kind = SUB_REQUESTS, .retry_after = cases[i].subd_after};
        if (try_one(w, &problem, &after) != cases[i].result || problem != cases[i].problem ||
            after != cases[i].retry_after_s)
            fail_msg("case %zu: %d after %lld", i, (int)problem, (long long)after);
    }
}

static void test_rate(void **state)
{
    struct world *w = *state;
    enum problem problem;
    int64_t after;
    lend(w, LEASE_UNLIMITED, LEASE_UNLIMITED);
    w->sub->record.limits.rate = 2;
    w->sub->record.limits.burst = 3;
    for (int i = 0; i < 3; i++)
        assert_int_equal(try_one(w, &problem, &after), ROOM_NEXT);
    assert_int_equal(try_one(w, &problem, &after), ROOM_REJECT);
    assert_int_equal(problem, PROBLEM_RATE_EXCEEDED);
    assert_int_equal(after, 1);
    w->worker.now_ns += SECOND / 2;
    assert_int_equal(try_one(w, &problem, &after), ROOM_NEXT);
}

static void test_full_journal(void **state)
{
    struct world *w = *state;
    struct journal_identity identity = {.lease = 99, .day = "2026-11-21", .sub = SUB};
    enum problem problem;
    int64_t after;
    while (journal_cell_open(w->billing.journal, 0, &identity))
        ;
    lend(w, 5, LEASE_UNLIMITED);
    assert_int_equal(try_one(w, &problem, &after), ROOM_REJECT);
    assert_int_equal(problem, PROBLEM_BILLING_UNAVAILABLE);
    assert_int_equal(atomic_load(&w->sub->purse.first->lease->left[SUB_REQUESTS]), 5);
}

static void test_stream_ends(void **state)
{
    struct world *w = *state;
    struct request request;
    char data[64];
    lend(w, 10, 100);
    begin(w, &request);
    assert_int_equal(room_qos.enter(&request), ROOM_NEXT);
    meter_mark(&request);
    assert_int_equal(room_qos.on_data(&request, ROOM_OUTBOUND, data, 64), 0);
    assert_int_equal(room_qos.on_data(&request, ROOM_OUTBOUND, data, 64), 0); /* asks for more */
    assert_int_equal(w->billing.queue.want_count, 1);
    w->sub->purse.refused_ns = w->worker.now_ns;
    w->sub->purse.refused = (struct lease_refused){.kind = SUB_BYTES};
    assert_int_equal(room_qos.on_data(&request, ROOM_OUTBOUND, data, 64), -1);
    assert_int_equal(request.problem, PROBLEM_QUOTA_EXCEEDED);
    lend(w, 10, 1000); /* it goes on under the next lease */
    struct lease_share *old = request.qos.share;
    assert_int_equal(room_qos.on_data(&request, ROOM_OUTBOUND, data, 64), 0);
    assert_ptr_not_equal(request.qos.share, old);
    assert_ptr_equal(request.meter.cell, request.qos.share->cell);
    w->sub->record.state = SUB_REVOKED;
    assert_int_equal(room_qos.on_data(&request, ROOM_INBOUND, data, 1), -1);
    assert_int_equal(request.problem, PROBLEM_PAYMENT_REQUIRED);
    end(&request);
}

static void test_public(void **state)
{
    struct world *w = *state;
    struct request request;
    begin(w, &request);
    request.auth.sub = NULL;
    assert_int_equal(room_qos.enter(&request), ROOM_NEXT);
    assert_int_equal(room_qos.on_data(&request, ROOM_INBOUND, "x", 1), 0);
    end(&request);
}

static uint64_t counted(const struct request *request, enum journal_counter counter)
{
    return atomic_load(&request->meter.cell->counters[counter]);
}

/* Each message is paid before it passes: to the last of a lease, then of the next one. */
static void test_messages(void **state)
{
    struct world *w = *state;
    struct request request;
    w->sub->record.limits.quota[SUB_MESSAGES] = 1000;
    lend_all(w, 10, LEASE_UNLIMITED, 2);
    begin(w, &request);
    assert_int_equal(room_qos.enter(&request), ROOM_NEXT);
    for (int i = 0; i < 2; i++)
        assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_NEXT);
    assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_WAIT);
    assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_WAIT);
    assert_int_equal(w->billing.queue.want_count, 1);
    assert_true(w->billing.queue.wants[0].messages);
    lend_all(w, 10, LEASE_UNLIMITED, 0); /* somebody's who wanted none */
    billing_worker_unpark(w->worker.billing, &request.qos.wait);
    assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_WAIT);
    lend_all(w, 10, LEASE_UNLIMITED, 1);
    billing_worker_unpark(w->worker.billing, &request.qos.wait);
    const struct lease_share *before = request.qos.share;
    assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_NEXT);
    assert_ptr_not_equal(request.qos.share, before);
    assert_ptr_equal(request.meter.cell, request.qos.share->cell);
    room_meter.on_unit(&request, ROOM_MESSAGE, 1);
    room_meter.on_unit(&request, ROOM_EVENT, 3);
    assert_int_equal(counted(&request, JOURNAL_MESSAGES), 1);
    assert_int_equal(counted(&request, JOURNAL_EVENTS), 3);
    end(&request);
}

static void test_messages_refused(void **state)
{
    struct world *w = *state;
    struct request request;
    enum problem problem;
    int64_t after;
    w->sub->record.limits.quota[SUB_MESSAGES] = 1000;
    lend_all(w, 1, LEASE_UNLIMITED, 0);
    begin(w, &request);
    assert_int_equal(room_qos.enter(&request), ROOM_NEXT);
    w->sub->purse.refused_ns = w->worker.now_ns;
    w->sub->purse.refused = (struct lease_refused){
        .reason = LEASE_QUOTA_EXCEEDED, .kind = SUB_MESSAGES, .retry_after = 60};
    assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_REJECT);
    assert_int_equal(request.problem, PROBLEM_QUOTA_EXCEEDED);
    assert_non_null(strstr(request.problem_detail, "messages"));
    end(&request);
    /* Requests are not what ran out: more of them are asked for. */
    lease_purse_clear(&w->sub->purse);
    assert_int_equal(try_one(w, &problem, &after), ROOM_WAIT);
}

/* A stream without a byte hears of its end too. */
static void test_tick(void **state)
{
    struct world *w = *state;
    struct request request;
    lend(w, 1, LEASE_UNLIMITED);
    begin(w, &request);
    assert_int_equal(room_qos.enter(&request), ROOM_NEXT);
    assert_int_equal(room_qos.on_tick(&request), 0);
    w->sub->record.state = SUB_REVOKED;
    assert_int_equal(room_qos.on_tick(&request), -1);
    assert_int_equal(request.problem, PROBLEM_PAYMENT_REQUIRED);
    assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_REJECT);
    w->sub->record.state = SUB_ACTIVE;
    w->worker.wall_ms += 1000 * 1000;
    assert_int_equal(room_qos.on_tick(&request), -1);
    end(&request);
}

/* Nothing that it spends is limited, so nothing else would ever end it, revoked or not. */
static void test_stream_of_a_proxy_that_is_cut_off(void **state)
{
    struct world *w = *state;
    struct request request;
    lend(w, LEASE_UNLIMITED, LEASE_UNLIMITED);
    begin(w, &request);
    request.auth.token_s = 300;
    assert_int_equal(room_qos.enter(&request), ROOM_NEXT);
    w->sub->record.expiry += 1000 * 1000;
    w->worker.now_ns += 1200 * SECOND;
    w->worker.wall_ms += 1200 * 1000;
    assert_int_equal(room_qos.on_tick(&request), 0);
    assert_int_equal(room_qos.on_data(&request, ROOM_OUTBOUND, "x", 1), 0);
    w->worker.now_ns += SECOND;
    assert_int_equal(room_qos.on_tick(&request), -1);
    assert_int_equal(request.problem, PROBLEM_BILLING_UNAVAILABLE);
    assert_int_equal(room_qos.on_data(&request, ROOM_OUTBOUND, "x", 1), -1);
    assert_int_equal(room_qos.on_unit(&request, ROOM_MESSAGE, 1), ROOM_REJECT);
    w->billing.beat_ns = w->worker.now_ns;
    assert_int_equal(room_qos.on_tick(&request), 0);
    end(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stream_of_a_proxy_that_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gives_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waits_once_asks_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_messages_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tick, setup, teardown),
        cmocka_unit_test_setup_teardown(test_public, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
