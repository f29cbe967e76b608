/* Joins the witnesses, the ceiling and what is told of trouble to the leader's steps. Trouble is
 * written only when it begins or ends: a flag for each kind spares the database the question. */
#include "services/payd/outlook.h"

#include "libcommon/log.h"
#include "services/payd/ceiling.h"
#include "services/payd/gauges.h"
#include "services/payd/look.h"
#include "services/payd/query.h"
#include "services/payd/trouble.h"
#include "services/payd/witness.h"

#include <stdio.h>

enum known { UNKNOWN, WELL, ILL };

struct outlook {
    struct outlook_options options;
    struct witness *witness;
    struct ceiling *ceiling; /* NULL: the followed endpoint decides alone */
    struct look *look;       /* NULL: nothing is read twice */
    struct trouble_site site;
    enum known troubles[TROUBLES];
    int64_t well_at; /* of the last step that succeeded, monotonic ms */
};

static int on_waiting(void *ctx, int64_t at_most, struct claim *out, struct err *err)
{
    const struct outlook *outlook = ctx;
    return store_waiting(outlook->options.store, at_most, out, err);
}

static void on_ask(void *ctx, const struct claim *claim, struct agree_voice *voices)
{
    const struct outlook *outlook = ctx;
    witness_ask(outlook->witness, claim, voices);
}

static int on_agreed(void *ctx, int64_t number, struct err *err)
{
    const struct outlook *outlook = ctx;
    return store_agreed(outlook->options.store, number, err);
}

static int on_closed(void *ctx, int64_t above, bool *any, struct err *err)
{
    const struct outlook *outlook = ctx;
    return store_closed(outlook->options.store, above, any, err);
}

static struct witness *witness_make(const struct outlook_options *options)
{
    const struct settings_chain *chain = &options->payd->settings->chain;
    struct witness_options witness = {.rpc = *options->rpc_options,
                                      .head_every_ms = chain->head_every_ms,
                                      .max_lag = chain->max_lag,
                                      .wait_ms = chain->agreement_wait_ms,
                                      .logs = *options->logs,
                                      .metrics = options->payd->metrics};
    return witness_start(&witness);
}

static struct ceiling *ceiling_make(struct outlook *outlook)
{
    const struct settings_chain *chain = &outlook->options.payd->settings->chain;
    struct ceiling_options options = {.chain = outlook->options.chain,
                                      .voices = chain->rpc.count,
                                      .confirmations = chain->confirmations,
                                      .by_time = chain->confirm_after_ms > 0,
                                      .wait_ms = chain->agreement_wait_ms,
                                      .ctx = outlook,
                                      .waiting = on_waiting,
                                      .ask = on_ask,
                                      .closed = on_closed,
                                      .agreed = on_agreed};
    return ceiling_new(&options);
}

static struct look *look_make(const struct outlook_options *options)
{
    const struct settings_chain *chain = &options->payd->settings->chain;
    struct look_options look = {.rpc = *options->rpc_options,
                                .logs = *options->logs,
                                .pg = options->payd->pg,
                                .follower = atomic_load(&options->payd->follower),
                                .behind = chain->second_look,
                                .range = chain->range,
                                .pause_ms = 2 * chain->poll_ms,
                                .others = chain->agreement == SETTINGS_ALL && chain->rpc.count > 1,
                                .metrics = options->payd->metrics};
    return chain->second_look == 0 ? NULL : look_start(&look);
}

/* With one endpoint there is nobody to agree, but what was read while there were others, and they
 * have not agreed on, is not confirmed unseen: that one may be left because another lied. */
static bool agreement_wanted(const struct outlook_options *options)
{
    const struct settings_chain *chain = &options->payd->settings->chain;
    struct claim left;
    if (chain->agreement != SETTINGS_ALL)
        return false;
    return chain->rpc.count > 1 || store_waiting(options->store, INT64_MAX, &left, NULL) != 0 ||
           left.count > 0;
}

struct outlook *outlook_new(const struct outlook_options *options)
{
    struct outlook *outlook = mem_zalloc(sizeof(*outlook));
    struct payd *payd = options->payd;
    struct query_status status;
    int64_t now = clock_mono_ms(&clock_system);
    outlook->options = *options;
    outlook->site =
        (struct trouble_site){atomic_load(&payd->follower), payd->target.domain.chain_id};
    outlook->witness = witness_make(options);
    outlook->look = look_make(options);
    if (agreement_wanted(options))
        outlook->ceiling = ceiling_make(outlook);
    /* An outage goes on that began under another leader. */
    outlook->well_at = now;
    if (query_status(options->conn, outlook->site.follower, &status, NULL) == 0 &&
        status.polled_ms < INT64_MAX)
        outlook->well_at = now - status.polled_ms;
    return outlook;
}

void outlook_free(struct outlook **outlook_ptr)
{
    struct outlook *outlook = *outlook_ptr;
    *outlook_ptr = NULL;
    if (outlook == NULL)
        return;
    witness_join(&outlook->witness);
    look_join(&outlook->look);
    ceiling_free(&outlook->ceiling);
    free(outlook);
}

const struct follow_chain *outlook_view(struct outlook *outlook)
{
    return outlook->ceiling == NULL ? outlook->options.chain : ceiling_view(outlook->ceiling);
}

void outlook_before(struct outlook *outlook, int64_t at)
{
    rpc_step(outlook->options.rpc);
    for (size_t i = 0; i < outlook->options.payd->settings->chain.rpc.count; i++) {
        bool left = outlook->ceiling != NULL && ceiling_left(outlook->ceiling, i);
        rpc_set_behind(outlook->options.rpc, i, left || witness_behind(outlook->witness, i));
    }
    if (outlook->ceiling != NULL)
        ceiling_begin(outlook->ceiling, at);
}

/* Written again at the next step where it could not be. */
static bool turn(struct outlook *outlook, enum trouble which, bool ill, const char *detail)
{
    struct pg_conn *conn = outlook->options.conn;
    enum known *known = &outlook->troubles[which];
    bool changed = false;
    struct err err = {{0}};
    if (*known == (ill ? ILL : WELL))
        return false;
    int64_t age = which == TROUBLE_AWAY ? clock_mono_ms(&clock_system) - outlook->well_at : 0;
    int rc = ill ? trouble_begin(conn, &outlook->site, which, age, detail, &changed, &err)
                 : trouble_end(conn, &outlook->site, which, &changed, &err);
    if (rc == 0)
        *known = ill ? ILL : WELL;
    if (changed)
        payd_hint(outlook->options.payd);
    return changed;
}

static void breakers_show(const struct outlook *outlook)
{
    const struct payd *payd = outlook->options.payd;
    for (size_t i = 0; i < payd->settings->chain.rpc.count; i++) {
        const char *const labels[] = {rpc_endpoint_name(outlook->options.rpc, i)};
        metric_set(metrics_cell(payd->metrics, GAUGES_ENDPOINT_BREAKER, labels),
                   rpc_breaker(outlook->options.rpc, i));
    }
}

static void disagreement_tell(struct outlook *outlook, const struct ceiling_state *state)
{
    const struct follow_cursor *block = &state->block;
    char names[1024], detail[1400];
    int followed = rpc_last(outlook->options.rpc);
    const char *ours =
        followed < 0 ? "" : rpc_endpoint_name(outlook->options.rpc, (size_t)followed);
    witness_contradicting(outlook->witness, names, sizeof(names));
    if (state->events)
        snprintf(detail, sizeof(detail), "%s: other events in block %lld %s than those read", names,
                 (long long)block->number, block->hash);
    else
        snprintf(detail, sizeof(detail), "%s: another block %lld than %s of %s", names,
                 (long long)block->number, block->hash, ours);
    if (turn(outlook, TROUBLE_DISAGREEMENT, true, detail))
        log_error("endpoints contradict each other: nothing is confirmed", LOG_STR(ENDPOINT, names),
                  LOG_INT(BLOCK, block->number), LOG_STR(HASH, block->hash), LOG_STR(NAME, ours),
                  LOG_STR(REASON, state->events ? "events" : "blocks"));
}

static void disagreement_show(struct outlook *outlook)
{
    struct ceiling_state state = ceiling_state(outlook->ceiling);
    metric_set(metrics_cell(outlook->options.payd->metrics, GAUGES_DISAGREEMENT, NULL),
               state.verdict == AGREE_NO);
    if (state.verdict == AGREE_NO)
        disagreement_tell(outlook, &state);
    else if (turn(outlook, TROUBLE_DISAGREEMENT, false, ""))
        log_info("the endpoints agree again: payments are confirmed");
}

int64_t outlook_wrong(const struct outlook *outlook)
{
    if (outlook->ceiling == NULL)
        return -1;
    struct ceiling_state state = ceiling_state(outlook->ceiling);
    return state.verdict == AGREE_WRONG ? state.block.number : -1;
}

void outlook_well(struct outlook *outlook)
{
    rpc_trust(outlook->options.rpc);
    if (turn(outlook, TROUBLE_AWAY, false, ""))
        log_info("the chain is there again");
    outlook->well_at = clock_mono_ms(&clock_system);
    if (outlook->ceiling != NULL)
        disagreement_show(outlook);
    breakers_show(outlook);
}

static void late_add(struct outlook *outlook, const struct late *late)
{
    struct metrics *metrics = outlook->options.payd->metrics;
    struct err err = {{0}};
    size_t added = 0;
    if (store_late(outlook->options.store, late, &added, &err) != 0) {
        log_warn("what a second reading found cannot be written", LOG_STR(ERROR, err.msg));
        return;
    }
    metric_set(metrics_cell(metrics, GAUGES_LOOKED, NULL), late->to);
    if (added == 0)
        return;
    metric_add(metrics_cell(metrics, GAUGES_LATE, NULL), (int64_t)added);
    log_error("events were left out when their blocks were read: a second reading has added them",
              LOG_INT(COUNT, (int64_t)added), LOG_INT(BLOCK, late->blocks[0].number));
    payd_hint(outlook->options.payd);
}

static void omission_show(struct outlook *outlook)
{
    char detail[LOOK_DETAIL];
    look_disputed(outlook->look, detail);
    bool ill = detail[0] != '\0';
    metric_set(metrics_cell(outlook->options.payd->metrics, GAUGES_OMISSION, NULL), ill);
    if (!turn(outlook, TROUBLE_OMISSION, ill, detail))
        return;
    if (ill)
        log_error("an endpoint leaves out what another tells of: it is not added",
                  LOG_STR(REASON, detail));
    else
        log_info("no endpoint leaves out what another tells of any more");
}

void outlook_late(struct outlook *outlook)
{
    if (outlook->look == NULL)
        return;
    look_followed(outlook->look, rpc_last(outlook->options.rpc));
    const struct late *late = look_take(outlook->look);
    if (late != NULL) {
        late_add(outlook, late);
        look_done(outlook->look);
    }
    omission_show(outlook);
}

void outlook_failed(struct outlook *outlook, const char *why)
{
    const struct settings_chain *chain = &outlook->options.payd->settings->chain;
    /* Where there is another, it is asked next: this one may be whole and still of no use. */
    if (chain->rpc.count > 1)
        rpc_distrust(outlook->options.rpc, why);
    if (clock_mono_ms(&clock_system) - outlook->well_at >= chain->stale_after_ms &&
        turn(outlook, TROUBLE_AWAY, true, why))
        log_error("the chain is away", LOG_STR(ERROR, why));
    breakers_show(outlook);
}
