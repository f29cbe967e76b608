/* Takes a request out of what was bought: from the rate, and from a lease of the quota. Bytes are
 * charged as they pass; an exchange whose subscription or quota ends is ended with it. */
#include "services/proxy/billing_internal.h"
#include "services/proxy/request.h"
#include "services/proxy/route.h"
#include "services/proxy/stream.h"

#include <string.h>

#define SECOND       1000000000LL
#define REFUSED_NS   SECOND      /* a refusal is not asked about again before */
#define BYTES_BEHIND (1LL << 20) /* how far bytes may run ahead of the next lease */

static enum room_result unavailable(struct request *request, const char *detail)
{
    request->retry_after_s = 1;
    request_refuse(request, PROBLEM_BILLING_UNAVAILABLE, "%s", detail);
    return ROOM_REJECT;
}

static enum room_result denied(struct request *request, const struct lease_refused *refused,
                               int64_t age_ns)
{
    int64_t after = refused->retry_after - age_ns / SECOND;
    if (refused->reason == LEASE_PAYMENT_REQUIRED) {
        request_refuse(request, PROBLEM_PAYMENT_REQUIRED, "the subscription is not active");
        return ROOM_REJECT;
    }
    request->retry_after_s = after > 1 ? after : 1;
    request_refuse(request, PROBLEM_QUOTA_EXCEEDED, "the quota of %s is used up",
                   sub_kind_name(refused->kind));
    return ROOM_REJECT;
}

/* The rate, once for each request, as soon as there is something that carries it. */
static bool within_rate(struct request *request, const struct subscription *sub)
{
    struct lease_share *share = sub->purse.first;
    const struct sub_limits *limits = &sub->record.limits;
    int64_t retry_ns;
    if (request->qos.rated || !share)
        return true;
    request->qos.rated = true;
    if (gcra_take(&share->lease->account->rate, limits->rate, limits->burst,
                  request->worker->now_ns, &retry_ns))
        return true;
    request->retry_after_s = (retry_ns + SECOND - 1) / SECOND;
    request->rate = limits->rate;
    request_refuse(request, PROBLEM_RATE_EXCEEDED, "%lld requests a second are allowed",
                   (long long)limits->rate);
    return false;
}

static enum room_result step(struct request *request);

static void again(struct request *request)
{
    enum room_result result = step(request);
    if (result == ROOM_WAIT)
        return;
    billing_worker_unpark(request->worker->billing, &request->qos.wait);
    request_resume(request, result);
}

enum ask { ASK_REQUESTS, ASK_MESSAGES, ASK_COST };

/* Both directions may have waited; what still waits has parked itself again. */
static void again_message(struct request *request)
{
    stream_resume(request->exchange);
    if (!request->qos.wait.link.next)
        billing_worker_unpark(request->worker->billing, &request->qos.wait);
}

/* That there is no more of requests, messages or cost stops only who needs them. */
static bool concerns(const struct lease_refused *refused, enum ask what)
{
    if (refused->reason != LEASE_QUOTA_EXCEEDED)
        return true;
    if (refused->kind == SUB_COST)
        return what == ASK_COST;
    if (refused->kind == SUB_REQUESTS)
        return what != ASK_MESSAGES;
    return refused->kind != SUB_MESSAGES || what == ASK_MESSAGES;
}

static void send_ask(struct request *request, struct subscription *sub, enum ask what)
{
    struct billing_worker *bw = request->worker->billing;
    switch (what) {
    case ASK_REQUESTS:
        billing_worker_ask_lease(bw, sub);
        break;
    case ASK_MESSAGES:
        billing_worker_ask_messages(bw, sub);
        break;
    case ASK_COST:
        billing_worker_ask_cost(bw, sub, request->cost.weight);
        break;
    }
}

static enum room_result ask(struct request *request, struct subscription *sub, enum ask what)
{
    struct billing_worker *bw = request->worker->billing;
    struct lease_purse *purse = &sub->purse;
    int64_t now_ns = request->worker->now_ns;
    bool refused = purse->refused_ns && now_ns - purse->refused_ns < REFUSED_NS;
    if (refused && concerns(&purse->refused, what))
        return denied(request, &purse->refused, now_ns - purse->refused_ns);
    if (purse->failed_ns && now_ns - purse->failed_ns < BILLING_RETRY_NS)
        return unavailable(request, "no part of the quota could be had");
    if (billing_worker_late(bw, &request->qos.wait))
        return unavailable(request, "there was no answer in time");
    if (!billing_worker_park(bw, &request->qos.wait, &purse->waiting, request,
                             what == ASK_MESSAGES ? again_message : again))
        return unavailable(request, "too many requests wait for an answer");
    send_ask(request, sub, what);
    return ROOM_WAIT;
}

static void hold(struct request *request, struct lease_share *share)
{
    request->qos.share = share;
    request->meter.cell = share->cell;
}

static enum room_result step(struct request *request)
{
    struct billing_worker *bw = request->worker->billing;
    struct subscription *sub = request->auth.sub;
    struct lease_share *share;
    if (!within_rate(request, sub))
        return ROOM_REJECT;
    if (!journal_writable(billing_journal(bw->billing)))
        return unavailable(request, "usage cannot be written down");
    switch (lease_purse_take(&sub->purse, billing_journal(bw->billing), bw->worker->index,
                             bw->worker->now_ns, &share)) {
    case LEASE_TAKEN:
        break;
    case LEASE_EMPTY:
        return ask(request, sub, ASK_REQUESTS);
    case LEASE_FULL:
        return unavailable(request, "the journal is full");
    }
    if (request->cost.weight && !cost_pay(request)) {
        lease_give_back(share->lease, SUB_REQUESTS, 1);
        lease_share_unref(share);
        return ask(request, sub, ASK_COST);
    }
    hold(request, share);
    if (request->meter.early_in)
        lease_charge(share->lease, SUB_BYTES, (int64_t)request->meter.early_in);
    if (lease_running_low(share->lease, bw->worker->now_ns))
        billing_worker_ask_lease(bw, sub);
    return ROOM_NEXT;
}

static enum room_result enter(struct request *request)
{
    return request->auth.sub ? step(request) : ROOM_NEXT;
}

/* Another lease, where this one has run out. What was admitted on the old one stays on it until it
 * is marked. */
static void move_on(struct request *request, struct subscription *sub)
{
    struct billing_worker *bw = request->worker->billing;
    struct lease_share *old = request->qos.share;
    struct lease_share *next = lease_purse_other(&sub->purse, billing_journal(bw->billing),
                                                 bw->worker->index, bw->worker->now_ns);
    if (!next || next == old || !request->meter.marked) {
        billing_worker_ask_on(bw, sub);
        return;
    }
    lease_share_ref(next);
    hold(request, next);
    lease_share_unref(old);
}

static int end(struct request *request, enum problem problem, const char *detail)
{
    request_refuse(request, problem, "%s", detail);
    return -1;
}

/* -1: the subscription is over, or has not been heard of for longer than is honoured. */
static int check_end(struct request *request)
{
    const struct billing_worker *bw = request->worker->billing;
    const struct sub_record *record = &request->auth.sub->record;
    if (record->state != SUB_ACTIVE || billing_worker_wall_s(bw) >= record->expiry)
        return end(request, PROBLEM_PAYMENT_REQUIRED, "the subscription has ended");
    if (billing_worker_cut_off(bw, request->auth.token_s))
        return end(request, PROBLEM_BILLING_UNAVAILABLE,
                   "the subscription could not be asked about for too long");
    return 0;
}

static int on_data(struct request *request, enum room_direction direction, const char *data,
                   size_t len)
{
    struct subscription *sub = request->auth.sub;
    struct lease_share *share = request->qos.share;
    int64_t now_ns = request->worker->now_ns;
    (void)direction, (void)data;
    if (!share)
        return 0;
    if (check_end(request))
        return -1;
    int64_t left = lease_charge(share->lease, SUB_BYTES, (int64_t)len);
    if (left > 0 && lease_live(share->lease, now_ns)) {
        if (lease_running_low(share->lease, now_ns))
            billing_worker_ask_lease(request->worker->billing, sub);
        return 0;
    }
    move_on(request, sub);
    bool refused = sub->purse.refused_ns && now_ns - sub->purse.refused_ns < REFUSED_NS &&
                   sub->purse.refused.reason == LEASE_QUOTA_EXCEEDED &&
                   sub->purse.refused.kind == SUB_BYTES;
    if (request->qos.share == share && left <= 0 && (refused || left < -BYTES_BEHIND))
        return end(request, PROBLEM_QUOTA_EXCEEDED, "the quota of bytes is used up");
    return 0;
}

static bool spend_message(struct request *request, struct lease_share *share)
{
    struct lease *lease = share->lease;
    if (!lease_live(lease, request->worker->now_ns) || !lease_spend(lease, SUB_MESSAGES, 1))
        return false;
    if (lease_at_quarter(lease, SUB_MESSAGES))
        billing_worker_ask_messages(request->worker->billing, request->auth.sub);
    return true;
}

/* A lease that has messages left; the exchange counts on it from here. */
static bool change_share(struct request *request)
{
    struct billing_worker *bw = request->worker->billing;
    for (struct lease_share *share = request->auth.sub->purse.first; share; share = share->next) {
        if (!lease_share_open(share, billing_journal(bw->billing), bw->worker->index) ||
            !spend_message(request, share))
            continue;
        lease_share_ref(share);
        lease_share_unref(request->qos.share);
        hold(request, share);
        return true;
    }
    return false;
}

/* A message is passed on only when it is paid: it waits for a lease where none is left. */
static enum room_result on_unit(struct request *request, enum room_unit unit, uint64_t count)
{
    struct lease_share *share = request->qos.share;
    (void)count;
    if (!share || unit != ROOM_MESSAGE)
        return ROOM_NEXT;
    if (check_end(request))
        return ROOM_REJECT;
    if (request->auth.sub->record.limits.quota[SUB_MESSAGES] == 0 ||
        spend_message(request, share) || change_share(request))
        return ROOM_NEXT;
    if (request->qos.wait.link.next)
        return ROOM_WAIT;
    return ask(request, request->auth.sub, ASK_MESSAGES);
}

static int on_tick(struct request *request)
{
    return request->qos.share ? check_end(request) : 0;
}

/* What was taken and not billed goes back. */
static void leave(struct request *request)
{
    struct lease_share *share = request->qos.share;
    if (request->worker->billing)
        billing_worker_unpark(request->worker->billing, &request->qos.wait);
    if (!share)
        return;
    if (!request->meter.marked)
        lease_give_back(share->lease, SUB_REQUESTS, 1);
    cost_leave(request);
    request->meter.cell = NULL;
    request->qos.share = NULL;
    lease_share_unref(share);
}

const struct room room_qos = {.name = "qos",
                              .enter = enter,
                              .leave = leave,
                              .on_data = on_data,
                              .on_unit = on_unit,
                              .on_tick = on_tick};
