/* The subscription's state machine. Revoked is final here: a payment that comes later is recorded
 * and does not bring the subscription back. No I/O but the log line and the counter of a committed
 * transition. */
#include "services/subd/state.h"

#include "libcommon/log.h"
#include "services/subd/gauges.h"

const char *state_event_name(enum state_event event)
{
    switch (event) {
    case STATE_PAID:
        return "paid";
    case STATE_UNPAID:
        return "unpaid";
    case STATE_LAPSED:
        return "lapsed";
    case STATE_REVOKED:
        return "revoked";
    }
    return "";
}

static int after_paid(enum sub_state from, enum sub_state *to)
{
    switch (from) {
    case SUB_PENDING:
    case SUB_ACTIVE:
    case SUB_SUSPENDED:
    case SUB_EXPIRED:
        *to = SUB_ACTIVE;
        return 0;
    case SUB_UNKNOWN:
    case SUB_REVOKED:
        return -1;
    }
    return -1;
}

static int after_unpaid(enum sub_state from, enum sub_state *to)
{
    switch (from) {
    case SUB_PENDING:
    case SUB_ACTIVE:
        *to = SUB_SUSPENDED;
        return 0;
    case SUB_UNKNOWN:
    case SUB_SUSPENDED:
    case SUB_EXPIRED:
    case SUB_REVOKED:
        return -1;
    }
    return -1;
}

static int after_lapsed(enum sub_state from, enum sub_state *to)
{
    switch (from) {
    case SUB_PENDING:
    case SUB_ACTIVE:
    case SUB_SUSPENDED:
        *to = SUB_EXPIRED;
        return 0;
    case SUB_UNKNOWN:
    case SUB_EXPIRED:
    case SUB_REVOKED:
        return -1;
    }
    return -1;
}

static int after_revoked(enum sub_state from, enum sub_state *to)
{
    switch (from) {
    case SUB_PENDING:
    case SUB_ACTIVE:
    case SUB_SUSPENDED:
        *to = SUB_REVOKED;
        return 0;
    case SUB_UNKNOWN:
    case SUB_EXPIRED:
    case SUB_REVOKED:
        return -1;
    }
    return -1;
}

int state_transition(enum sub_state from, enum state_event event, enum sub_state *to)
{
    switch (event) {
    case STATE_PAID:
        return after_paid(from, to);
    case STATE_UNPAID:
        return after_unpaid(from, to);
    case STATE_LAPSED:
        return after_lapsed(from, to);
    case STATE_REVOKED:
        return after_revoked(from, to);
    }
    return -1;
}

void state_announce(struct metrics *metrics, const char *subscription, int64_t version,
                    enum sub_state from, enum sub_state to, enum state_event event)
{
    metrics_count(metrics, GAUGES_TRANSITIONS, sub_state_name(from), sub_state_name(to));
    log_info("subscription changed", LOG_STR(SUBSCRIPTION, subscription),
             LOG_STR(FROM, sub_state_name(from)), LOG_STR(STATE, sub_state_name(to)),
             LOG_STR(REASON, state_event_name(event)), LOG_INT(VERSION, version));
}
