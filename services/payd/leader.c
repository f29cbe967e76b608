/* One instance leads by holding an advisory lock on a PostgreSQL session of its own. All it writes
 * goes through that very session, so that whoever loses the session can write nothing more, and the
 * epoch refuses whatever is left. The server ends a session whose client is silent: a leader that
 * hangs loses its lead. Everybody else tries for the lock about every second. */
#include "services/payd/leader.h"

#include "libcommon/log.h"
#include "services/payd/gauges.h"
#include "services/payd/outlook.h"
#include "services/payd/store.h"

#include <string.h>

#define LOCK_KEY       0x6f6374726f690000 /* "octroi", and the follower's number */
#define STANDBY_MS     500
#define ERROR_MS_MAX   5000
#define PROGRESS_MS    5000
#define EVENTS_MAX     10000
#define BEAT_MS        2000
#define SESSION_MS_MIN 10000

struct leader {
    struct payd *payd;
    struct pg *pg; /* one session */
    pthread_t thread;
};

/* One time of leading. */
struct reign {
    struct payd *payd;
    struct store *store;
    struct rpc *rpc;
    struct chain *chain;
    struct outlook *outlook;
    struct follow *follow;
    int64_t failures; /* in a row */
    int64_t beat_at;  /* monotonic ms */
    int64_t told_at;  /* of progress, monotonic ms */
    int64_t told_block;
};

/* Slow nodes must not make the leader's session look dead. No transaction is open here: a step
 * reads everything first. A failure shows at the next write. */
static void keep_alive(struct reign *reign)
{
    int64_t now = clock_mono_ms(&clock_system);
    if (now - reign->beat_at < BEAT_MS)
        return;
    reign->beat_at = now;
    if (store_beat(reign->store, NULL) != 0)
        reign->beat_at = 0;
}

static void on_call(void *ctx, const char *endpoint, const char *method, const char *result,
                    double seconds)
{
    struct reign *reign = ctx;
    gauges_call(reign->payd->metrics, endpoint, method, result, seconds);
    keep_alive(reign);
}

static void gauge(struct payd *payd, enum gauges which, int64_t value)
{
    metric_set(metrics_cell(payd->metrics, which, NULL), value);
}

static struct rpc_options rpc_settings(struct reign *reign)
{
    struct rpc_options options = payd_rpc(reign->payd);
    options.observe = on_call;
    options.ctx = reign;
    return options;
}

static struct logs_options logs_settings(const struct payd *payd)
{
    struct logs_options options = {.tokens = payd->target.tokens,
                                   .token_count = payd->target.token_count,
                                   .max_events = EVENTS_MAX};
    memcpy(options.contract, payd->target.domain.contract, 20);
    return options;
}

static struct chain *chain_make(struct payd *payd, struct rpc *rpc)
{
    struct chain_options options = {
        .rpc = rpc, .tag = (enum chain_tag)payd->settings->chain.tag, .logs = logs_settings(payd)};
    return chain_new(&options);
}

static int follow_make(struct reign *reign, struct err *err)
{
    const struct settings_chain *chain = &reign->payd->settings->chain;
    struct follow_cursor at;
    struct follow_options options = {.chain = outlook_view(reign->outlook),
                                     .store = store_view(reign->store),
                                     .tail = chain->tail,
                                     .range = chain->range,
                                     .batch = chain->batch};
    follow_free(&reign->follow);
    if (store_cursor(reign->store, &at, &options.first, err) != 0)
        return -1;
    reign->follow = follow_new(&options, &at);
    return 0;
}

/* A long way to go is told of now and then. */
static void tell_progress(struct reign *reign)
{
    int64_t at = follow_at(reign->follow)->number, head = follow_head(reign->follow);
    int64_t now = clock_mono_ms(&clock_system);
    if (head - at <= reign->payd->settings->chain.tail || now - reign->told_at < PROGRESS_MS)
        return;
    if (reign->told_at != 0)
        log_info("catching up with the chain", LOG_INT(BLOCK, at), LOG_INT(COUNT, head - at),
                 LOG_INT(DURATION_MS, now - reign->told_at));
    reign->told_at = now;
    reign->told_block = at;
}

static void note_step(struct reign *reign, const struct follow_cursor *before,
                      enum follow_progress progress)
{
    struct payd *payd = reign->payd;
    const struct follow_cursor *at = follow_at(reign->follow);
    gauge(payd, GAUGES_HEAD, follow_head(reign->follow));
    gauge(payd, GAUGES_CURSOR, at->number);
    gauge(payd, GAUGES_LAG, follow_head(reign->follow) - at->number);
    if (at->number > before->number)
        metric_add(metrics_cell(payd->metrics, GAUGES_BLOCKS, NULL), at->number - before->number);
    if (progress == FOLLOW_ROLLED_BACK) {
        int64_t depth = before->number - at->number;
        log_warn("blocks left the chain", LOG_INT(COUNT, depth), LOG_INT(BLOCK, at->number),
                 LOG_STR(HASH, at->hash));
        metrics_count(payd->metrics, GAUGES_REORGS, NULL, NULL);
        metric_observe(metrics_cell(payd->metrics, GAUGES_REORG_DEPTH, NULL), (double)depth);
    }
    tell_progress(reign);
    if (store_hinted(reign->store))
        payd_hint(payd);
}

/* The chain or the store failed. -1: the lead is lost. */
static int step_failed(struct reign *reign, const struct err *why, int64_t *pause)
{
    struct err err = {{0}};
    struct payd *payd = reign->payd;
    metrics_count(payd->metrics, GAUGES_POLL_FAILURES, NULL, NULL);
    if (!atomic_load(&payd->stop) && reign->failures == 0)
        log_warn("the chain cannot be followed at the moment", LOG_STR(ERROR, why->msg));
    if (store_beat(reign->store, &err) != 0 || follow_make(reign, &err) != 0) {
        log_warn("leadership lost", LOG_STR(ERROR, err.msg));
        return -1;
    }
    outlook_failed(reign->outlook, why->msg);
    *pause = payd->settings->chain.poll_ms << (reign->failures < 6 ? reign->failures : 6);
    /* At once, while who failed is left alone: after a pause it would be asked first again. */
    if (reign->failures == 0 && payd->settings->chain.rpc.count > 1)
        *pause = 0;
    if (*pause > ERROR_MS_MAX)
        *pause = ERROR_MS_MAX;
    reign->failures++;
    return 0;
}

/* The endpoints are of one mind against what an earlier answer made us hold. */
static int read_again(struct reign *reign, struct err *err)
{
    int64_t wrong = outlook_wrong(reign->outlook);
    if (wrong < 0)
        return 0;
    log_warn("events of a block are not what all endpoints say: it is read again",
             LOG_INT(BLOCK, wrong));
    return follow_forget(reign->follow, wrong, err);
}

static int step(struct reign *reign, int64_t *pause)
{
    struct err err = {{0}};
    struct follow_cursor before = *follow_at(reign->follow);
    enum follow_progress progress = FOLLOW_CURRENT;
    outlook_before(reign->outlook, before.number);
    if (follow_step(reign->follow, &progress, &err) != 0 || read_again(reign, &err) != 0)
        return step_failed(reign, &err, pause);
    if (reign->failures > 0)
        log_info("the chain is followed again", LOG_INT(ATTEMPT, reign->failures + 1),
                 LOG_INT(BLOCK, follow_at(reign->follow)->number));
    reign->failures = 0;
    outlook_well(reign->outlook);
    outlook_late(reign->outlook);
    note_step(reign, &before, progress);
    *pause = progress == FOLLOW_CURRENT ? reign->payd->settings->chain.poll_ms : 0;
    return 0;
}

static void reign_run(struct reign *reign)
{
    struct err err = {{0}};
    int64_t pause = 0;
    if (follow_make(reign, &err) != 0) {
        log_warn("leadership lost", LOG_STR(ERROR, err.msg));
        return;
    }
    log_info("leading", LOG_INT(VERSION, store_epoch(reign->store)),
             LOG_INT(BLOCK, follow_at(reign->follow)->number));
    do {
        if (step(reign, &pause) != 0)
            return;
    } while (!payd_sleep(reign->payd, pause));
}

static void reign_end(struct reign *reign)
{
    follow_free(&reign->follow);
    outlook_free(&reign->outlook);
    chain_free(&reign->chain);
    rpc_free(&reign->rpc);
    store_free(&reign->store);
}

/* A silent leader loses its session, and with it the lock, after the longest that one call may
 * take. */
static int64_t session_ms(const struct settings_chain *chain)
{
    int64_t longest = SESSION_MS_MIN;
    const struct rpc_endpoint *endpoints = chain->rpc.items;
    for (size_t i = 0; i < chain->rpc.count; i++) {
        if (endpoints[i].timeout_ms + BEAT_MS + ERROR_MS_MAX > longest)
            longest = endpoints[i].timeout_ms + BEAT_MS + ERROR_MS_MAX;
    }
    return longest;
}

static int session_set_up(struct payd *payd, struct pg_conn *conn, struct err *err)
{
    static const struct pg_stmt set_up = {
        "leader_session", "SELECT set_config('idle_session_timeout', $1, false), "
                          "set_config('idle_in_transaction_session_timeout', $1, false), "
                          "set_config('tcp_keepalives_idle', '2', false), "
                          "set_config('tcp_keepalives_interval', '1', false), "
                          "set_config('tcp_keepalives_count', '3', false), "
                          "set_config('tcp_user_timeout', '5000', false)"};
    return pg_run(conn, &set_up, PG_PARAMS(pg_num(session_ms(&payd->settings->chain)).s), NULL,
                  err);
}

static void lead(struct payd *payd, struct pg_conn *conn)
{
    struct err err = {{0}};
    struct reign reign = {.payd = payd};
    struct store_options options = {
        .follower = atomic_load(&payd->follower),
        .domain = payd->target.domain,
        .rule = {payd->settings->chain.confirmations, payd->settings->chain.confirm_after_ms},
        .tokens = payd->target.tokens,
        .token_count = payd->target.token_count,
        .keep_blocks = payd->settings->chain.keep_blocks,
        .claims =
            payd->settings->chain.agreement == SETTINGS_ALL && payd->settings->chain.rpc.count > 1,
        .instance = payd->instance,
        .metrics = payd->metrics};
    if (session_set_up(payd, conn, &err) != 0 ||
        store_lead(conn, &options, &reign.store, &err) != 0) {
        log_warn("cannot begin to lead", LOG_STR(ERROR, err.msg));
        return;
    }
    struct rpc_options rpc = rpc_settings(&reign);
    reign.rpc = rpc_new(&rpc);
    reign.chain = chain_make(payd, reign.rpc);
    struct logs_options logs = logs_settings(payd);
    reign.outlook = outlook_new(&(struct outlook_options){.payd = payd,
                                                          .conn = conn,
                                                          .store = reign.store,
                                                          .rpc = reign.rpc,
                                                          .rpc_options = &rpc,
                                                          .logs = &logs,
                                                          .chain = chain_view(reign.chain)});
    gauge(payd, GAUGES_LEADER, 1);
    gauge(payd, GAUGES_EPOCH, store_epoch(reign.store));
    atomic_store(&payd->epoch, store_epoch(reign.store));
    payd_hint(payd);
    reign_run(&reign);
    atomic_store(&payd->epoch, 0);
    gauge(payd, GAUGES_LEADER, 0);
    reign_end(&reign);
}

/* True where this instance led: its session is spent. */
static bool stand_for_election(struct leader *leader)
{
    struct payd *payd = leader->payd;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    bool held = false;
    int64_t key = (int64_t)LOCK_KEY + atomic_load(&payd->follower);
    if (pg_acquire(leader->pg, STANDBY_MS, &conn, NULL) != 0 ||
        pg_try_lock(conn, key, &held, NULL) != 0 || !held)
        return false;
    lead(payd, conn);
    return true;
}

static void session_open(struct leader *leader)
{
    struct pg_options options = {.conninfo = leader->payd->settings->postgres.url,
                                 .schema = "payments",
                                 .size = 1,
                                 .application = "payd-leader"};
    leader->pg = pg_new(&options);
}

static void *leader_main(void *ctx)
{
    struct leader *leader = ctx;
    while (!payd_sleep(leader->payd, STANDBY_MS)) {
        if (atomic_load(&leader->payd->follower) == 0 || !stand_for_election(leader))
            continue;
        /* The lock goes with the session, whatever state that is in. */
        pg_free(&leader->pg);
        session_open(leader);
    }
    return NULL;
}

struct leader *leader_start(struct payd *payd)
{
    struct leader *leader = mem_zalloc(sizeof(*leader));
    leader->payd = payd;
    session_open(leader);
    if (pthread_create(&leader->thread, NULL, leader_main, leader) != 0)
        abort();
    return leader;
}

void leader_join(struct leader **leader_ptr)
{
    struct leader *leader = *leader_ptr;
    *leader_ptr = NULL;
    if (leader == NULL)
        return;
    pthread_join(leader->thread, NULL);
    pg_free(&leader->pg);
    free(leader);
}
