/* The payment's state machine: which cause leads where, what that means for subd, and the rules of
 * confirmation and rejection. No I/O but the log line and the counter of a committed move. */
#include "services/payd/ledger.h"

#include "libcommon/log.h"
#include "services/payd/gauges.h"

#include <string.h>

static const char *const names[LEDGER_STATES] = {
    [LEDGER_SEEN] = "seen",           [LEDGER_CONFIRMING] = "confirming",
    [LEDGER_CONFIRMED] = "confirmed", [LEDGER_ACTIVATED] = "activated",
    [LEDGER_ORPHANED] = "orphaned",   [LEDGER_REJECTED] = "rejected",
    [LEDGER_REFUNDED] = "refunded",
};

const char *ledger_name(enum ledger_state state)
{
    return names[state];
}

int ledger_parse(const char *name, enum ledger_state *out)
{
    for (int i = 0; i < LEDGER_STATES; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum ledger_state)i;
            return 0;
        }
    }
    return -1;
}

const char *ledger_hint_name(enum ledger_hint hint)
{
    switch (hint) {
    case LEDGER_HINT_NONE:
        return "";
    case LEDGER_HINT_CONFIRMED:
        return "confirmed";
    case LEDGER_HINT_REVERSED:
        return "reversed";
    }
    return "";
}

static int moved(struct ledger_move *out, enum ledger_state to, enum ledger_hint hint)
{
    out->to = to;
    out->hint = hint;
    return 0;
}

static int from_open(enum ledger_state from, enum ledger_cause cause, struct ledger_move *out)
{
    if (cause == LEDGER_BURIED && from == LEDGER_SEEN)
        return moved(out, LEDGER_CONFIRMING, LEDGER_HINT_NONE);
    if (cause == LEDGER_DEEP_ENOUGH)
        return moved(out, LEDGER_CONFIRMED, LEDGER_HINT_CONFIRMED);
    if (cause == LEDGER_REFUSED)
        return moved(out, LEDGER_REJECTED, LEDGER_HINT_NONE);
    if (cause == LEDGER_CUT_OFF)
        return moved(out, LEDGER_ORPHANED, LEDGER_HINT_NONE);
    return cause == LEDGER_REPAID ? moved(out, LEDGER_REFUNDED, LEDGER_HINT_REVERSED) : -1;
}

static int from_closed(enum ledger_state from, enum ledger_cause cause, struct ledger_move *out)
{
    if (cause == LEDGER_APPLIED && from == LEDGER_CONFIRMED)
        return moved(out, LEDGER_ACTIVATED, LEDGER_HINT_NONE);
    if (cause == LEDGER_CUT_OFF)
        return moved(out, LEDGER_ORPHANED, LEDGER_HINT_REVERSED);
    return cause == LEDGER_REPAID ? moved(out, LEDGER_REFUNDED, LEDGER_HINT_REVERSED) : -1;
}

static int from_rejected(enum ledger_cause cause, struct ledger_move *out)
{
    if (cause == LEDGER_REDEEMED)
        return moved(out, LEDGER_CONFIRMING, LEDGER_HINT_NONE);
    if (cause == LEDGER_CUT_OFF)
        return moved(out, LEDGER_ORPHANED, LEDGER_HINT_NONE);
    return cause == LEDGER_REPAID ? moved(out, LEDGER_REFUNDED, LEDGER_HINT_REVERSED) : -1;
}

static int repaid_no_more(enum ledger_state before, struct ledger_move *out)
{
    switch (before) {
    case LEDGER_SEEN:
    case LEDGER_CONFIRMING:
    case LEDGER_REJECTED:
        return moved(out, before, LEDGER_HINT_REVERSED);
    case LEDGER_CONFIRMED:
    case LEDGER_ACTIVATED:
        return moved(out, LEDGER_CONFIRMED, LEDGER_HINT_CONFIRMED);
    case LEDGER_ORPHANED:
    case LEDGER_REFUNDED:
        return -1;
    }
    return -1;
}

static int from_refunded(enum ledger_cause cause, enum ledger_state before, struct ledger_move *out)
{
    if (cause == LEDGER_UNREPAID)
        return repaid_no_more(before, out);
    if (cause == LEDGER_CUT_OFF)
        return moved(out, LEDGER_ORPHANED, LEDGER_HINT_REVERSED);
    return -1;
}

int ledger_transition(enum ledger_state from, enum ledger_cause cause, enum ledger_state before,
                      struct ledger_move *out)
{
    out->from = from;
    switch (from) {
    case LEDGER_SEEN:
    case LEDGER_CONFIRMING:
        return from_open(from, cause, out);
    case LEDGER_CONFIRMED:
    case LEDGER_ACTIVATED:
        return from_closed(from, cause, out);
    case LEDGER_REJECTED:
        return from_rejected(cause, out);
    case LEDGER_ORPHANED:
        return cause == LEDGER_MINED ? moved(out, LEDGER_SEEN, LEDGER_HINT_NONE) : -1;
    case LEDGER_REFUNDED:
        return from_refunded(cause, before, out);
    }
    return -1;
}

void ledger_announce(struct metrics *metrics, bool transfer, const char *id, int64_t revision,
                     bool first, const struct ledger_move *move, int64_t block, const char *reason)
{
    const char *from = first ? "new" : ledger_name(move->from);
    const char *to = ledger_name(move->to);
    if (metrics != NULL)
        metrics_count(metrics, transfer ? GAUGES_TRANSFER_TRANSITIONS : GAUGES_TRANSITIONS, from,
                      to);
    bool reversed = move->hint == LEDGER_HINT_REVERSED && move->to != LEDGER_REFUNDED;
    bool warn = transfer || move->to == LEDGER_REJECTED || reversed;
    enum log_level level = warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
    if (transfer)
        LOG_AT(level, "transfer that pays nothing", LOG_STR(TRANSFER, id), LOG_STR(FROM, from),
               LOG_STR(STATE, to), LOG_INT(REVISION, revision), LOG_INT(BLOCK, block));
    else
        LOG_AT(level, "payment", LOG_STR(PAYMENT, id), LOG_STR(FROM, from), LOG_STR(STATE, to),
               LOG_INT(REVISION, revision), LOG_INT(BLOCK, block), LOG_STR(REASON, reason));
}

static bool token_listed(const uint8_t address[20], uint8_t index,
                         const struct ledger_token *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (tokens[i].index == index && memcmp(tokens[i].address, address, 20) == 0)
            return true;
    }
    return count == 0;
}

const char *ledger_objection(const struct quote_terms *terms, const uint8_t token[20],
                             uint16_t seq_before, const struct ledger_token *tokens, size_t count)
{
    if (!token_listed(token, terms->token, tokens, count))
        return "unknown-token";
    if (terms->start >= terms->expiry)
        return "bad-period";
    if (terms->seq <= seq_before)
        return "seq-used";
    if (terms->seq != seq_before + 1)
        return "seq-gap";
    return NULL;
}

bool ledger_judge(const struct ledger_rule *rule, enum ledger_state state, int64_t block,
                  int64_t cursor, int64_t ceiling, int64_t age_ms, enum ledger_cause *out)
{
    int64_t depth = cursor - block;
    bool old = rule->confirm_after_ms > 0 && age_ms >= rule->confirm_after_ms;
    if (block <= ceiling && depth >= 0 && (depth >= rule->confirmations || old)) {
        *out = LEDGER_DEEP_ENOUGH;
        return true;
    }
    *out = LEDGER_BURIED;
    return state == LEDGER_SEEN && depth > 0;
}
