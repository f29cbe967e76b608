/* New subscription, renewal and change of plan. A grant that still runs is renewed under the same
 * plan (the start stays, the value adds up) or exchanged for another plan (what is unused counts
 * toward the price). Whatever is rounded is rounded down in what the buyer holds. */
#include "services/quoted/terms.h"

#include <assert.h>

const char *terms_kind_name(enum terms_kind kind)
{
    switch (kind) {
    case TERMS_NEW:
        return "new";
    case TERMS_RENEWAL:
        return "renewal";
    case TERMS_CHANGE:
        return "change";
    }
    return "";
}

uint32_t terms_bucket(int64_t now, int64_t ttl)
{
    assert(now >= QUOTE_EPOCH && now < TERMS_LAST && ttl > 0);
    return (uint32_t)(now - now % ttl);
}

static bool running(const struct quote_terms *slot, uint32_t at)
{
    return slot->expiry > at && slot->expiry > slot->start;
}

/* Of what is to be granted; `from` and `paid` are what the duration and the price are added to. */
static enum terms_refusal grant(const struct terms_wish *wish, uint32_t start, uint32_t from,
                                uint64_t paid, struct quote_terms *out)
{
    int64_t expiry = (int64_t)from + wish->duration_s;
    if (expiry > UINT32_MAX || expiry - wish->bucket > TERMS_MAX_AHEAD)
        return TERMS_TOO_LONG;
    if (wish->price > UINT64_MAX - paid)
        return TERMS_TOO_MUCH;
    out->start = start;
    out->expiry = (uint32_t)expiry;
    out->paid = paid + wish->price;
    return TERMS_OK;
}

static enum terms_refusal renewal(const struct terms_wish *wish, const struct quote_terms *slot,
                                  struct terms_offer *out)
{
    out->kind = TERMS_RENEWAL;
    out->held = slot->paid;
    out->due = wish->price;
    return grant(wish, slot->start, slot->expiry, slot->paid, &out->terms);
}

static enum terms_refusal change(const struct terms_wish *wish, const struct quote_terms *slot,
                                 struct terms_offer *out)
{
    uint32_t start = slot->start > wish->bucket ? slot->start : wish->bucket;
    out->kind = TERMS_CHANGE;
    out->held = quote_unused(slot, start);
    if (out->held > wish->price)
        return TERMS_HOLDS_MORE;
    out->due = wish->price - out->held;
    return grant(wish, start, start, 0, &out->terms);
}

enum terms_refusal terms_offer(const struct terms_wish *wish, const struct quote_terms *slot,
                               struct terms_offer *out)
{
    *out = (struct terms_offer){
        .kind = TERMS_NEW,
        .due = wish->price,
        .terms = {.plan = wish->plan,
                  .rate = wish->rate,
                  .bandwidth = wish->bandwidth,
                  .quota = wish->quota,
                  .seq = (uint16_t)(slot->seq + 1),
                  .token = wish->token,
                  .valid_minutes = (wish->bucket + 2 * wish->ttl - QUOTE_EPOCH) / 60},
    };
    if (slot->seq == UINT16_MAX)
        return TERMS_NO_SEQ;
    if (!running(slot, wish->bucket))
        return grant(wish, wish->bucket, wish->bucket, 0, &out->terms);
    if (slot->token != wish->token)
        return TERMS_OTHER_TOKEN;
    return slot->plan == wish->plan ? renewal(wish, slot, out) : change(wish, slot, out);
}
