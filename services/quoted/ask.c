/* The operator's revocation stands in subd at once and on the chain a little later, so both are
 * asked. The chain has the last word: while subd is away quotes are given all the same, the
 * contract refuses what it knows to be revoked, and payd refunds what slipped through before. */
#include "services/quoted/ask.h"

#include "libcommon/log.h"
#include "libcommon/proto/lease.h"
#include "libcommon/proto/payment.h"
#include "services/quoted/selling.h"

#include <string.h>

#define SUBD_MS       200  /* for subd, once payd has answered */
#define SUBD_PAUSE_MS 1000 /* after subd did not answer */

/* What an answer of payd says of the chain; told to everybody who waits for it. */
static enum watch_state hear(struct quoted *quoted, int rc, const struct payment_slot *slot,
                             struct err *err)
{
    enum watch_state state = WATCH_OPEN;
    if (rc != 0) {
        state = WATCH_AWAY;
    } else if (slot->chain_id != quoted->chain.domain.chain_id ||
               memcmp(slot->contract, quoted->chain.domain.contract, 20) != 0) {
        state = WATCH_AWAY;
        err_set(err, "payd follows another chain or contract");
    } else if (!quoted_can_sign(quoted, slot->signer)) {
        state = WATCH_SIGNER;
        err_set(err, "the contract's signer is %s, of which there is no key here", slot->signer);
    }
    if (watch_tell(quoted->watch, state, state == WATCH_OPEN ? "" : err->msg))
        selling_changed(quoted);
    return state;
}

static int send_slot(struct quoted *quoted, const uint8_t subscriber[20],
                     const struct word *service_id, struct bus_ask **out, struct err *err)
{
    struct payment_slot_request request = {.service_id = *service_id};
    memcpy(request.subscriber, subscriber, 20);
    AUTO_FREE char *body = payment_slot_request_encode(&request);
    return bus_ask(quoted->asker, PAYMENT_SUBJECT_SLOT, body, strlen(body), out, err);
}

static int wait_slot(struct quoted *quoted, struct bus_ask **ask, struct payment_slot *out,
                     struct err *err)
{
    AUTO_FREE char *reply = NULL;
    size_t len;
    if (bus_ask_wait(ask, quoted->settings->chain.timeout_ms, &reply, &len, err) != 0)
        return -1;
    return payment_slot_decode(reply, len, out, err);
}

/* NULL: subd is not asked now. */
static struct bus_ask *send_check(struct quoted *quoted, const struct offer_wish *wish)
{
    char id[QUOTE_SUBSCRIPTION_ID];
    const char *ids[] = {id};
    struct bus_ask *ask = NULL;
    if (clock_mono_ms(quoted->clock) < atomic_load(&quoted->subd_pause_ms))
        return NULL;
    quote_subscription_id(&wish->domain, wish->subscriber, &wish->service->id, id);
    AUTO_FREE char *body = sub_check_encode(ids, 1);
    if (bus_ask(quoted->asker, SUB_SUBJECT_CHECK, body, strlen(body), &ask, NULL) != 0)
        return NULL;
    return ask;
}

static bool wait_revoked(struct quoted *quoted, struct bus_ask **ask)
{
    AUTO_FREE struct sub_record *records = NULL;
    AUTO_FREE char *reply = NULL;
    struct err err;
    size_t len, count = 0;
    int64_t head;
    if (*ask == NULL)
        return false;
    if (bus_ask_wait(ask, SUBD_MS, &reply, &len, &err) != 0) {
        log_debug("subd is away", LOG_STR(ERROR, err.msg));
        atomic_store(&quoted->subd_pause_ms, clock_mono_ms(quoted->clock) + SUBD_PAUSE_MS);
        return false;
    }
    if (sub_check_reply_decode(reply, len, &head, &records, &count, &err) != 0) {
        log_warn("subd does not say whether a subscription is revoked", LOG_STR(ERROR, err.msg));
        return false;
    }
    return count > 0 && records[0].state == SUB_REVOKED;
}

static enum watch_state ask_both(struct quoted *quoted, const struct offer_wish *wish,
                                 struct ask_answer *out, struct err *why)
{
    struct bus_ask *slot_ask = NULL, *check = NULL;
    struct payment_slot slot;
    int rc = send_slot(quoted, wish->subscriber, &wish->service->id, &slot_ask, why);
    if (rc == 0) {
        check = send_check(quoted, wish);
        rc = wait_slot(quoted, &slot_ask, &slot, why);
    }
    enum watch_state state = hear(quoted, rc, &slot, why);
    if (state == WATCH_OPEN) {
        quote_terms_unpack(&slot.slot, &out->slot);
        out->pending = slot.pending;
        out->revoked = wait_revoked(quoted, &check) || slot.revoked;
        memcpy(out->signer, slot.signer, sizeof(out->signer));
    }
    bus_ask_drop(&check);
    return state;
}

static enum ask_result result_of(enum watch_state state)
{
    switch (state) {
    case WATCH_UNKNOWN:
    case WATCH_OPEN:
        return ASK_OK;
    case WATCH_AWAY:
        return ASK_AWAY;
    case WATCH_SIGNER:
        return ASK_SIGNER;
    }
    abort();
}

enum ask_result ask_slot(struct quoted *quoted, const struct offer_wish *wish,
                         struct ask_answer *out, struct err *why)
{
    struct watch_view view;
    unsigned place;
    switch (watch_enter(quoted->watch, &place)) {
    case WATCH_BUSY:
        err_set(why, "payd does not answer");
        return ASK_AWAY;
    case WATCH_REFUSED:
        watch_read(quoted->watch, &view);
        err_set(why, "%s", view.detail);
        return view.state == WATCH_SIGNER ? ASK_SIGNER : ASK_AWAY;
    case WATCH_ENTERED:
        break;
    }
    enum watch_state state = ask_both(quoted, wish, out, why);
    watch_leave(quoted->watch, place);
    return result_of(state);
}

void ask_probe(struct quoted *quoted)
{
    static const uint8_t nobody[20];
    static const struct word nothing;
    struct bus_ask *ask = NULL;
    struct payment_slot slot;
    struct err err = {""};
    int rc = send_slot(quoted, nobody, &nothing, &ask, &err);
    if (rc == 0)
        rc = wait_slot(quoted, &ask, &slot, &err);
    hear(quoted, rc, &slot, &err);
}
