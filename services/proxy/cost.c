/* Parts of a cost live in the request's pool; each holds the share that it was taken from. */
#include "services/proxy/cost.h"

#include "services/proxy/billing_internal.h"
#include "services/proxy/request.h"

struct cost_part {
    struct cost_part *next;
    struct lease_share *share;
    int64_t amount;
};

static void take(struct request *request, struct lease_share *share, int64_t amount)
{
    struct cost_part *part = h2o_mem_alloc_pool(&request->pool, sizeof(*part));
    *part = (struct cost_part){request->cost.parts, share, amount};
    request->cost.parts = part;
    lease_share_ref(share);
}

bool cost_pay(struct request *request)
{
    struct billing_worker *bw = request->worker->billing;
    struct journal *journal = billing_journal(bw->billing);
    int64_t need = request->cost.weight;
    struct lease_share *share = request->auth.sub->purse.first;
    for (; need > 0 && share; share = share->next) {
        if (!lease_live(share->lease, bw->worker->now_ns) ||
            !lease_share_open(share, journal, bw->worker->index))
            continue;
        int64_t amount = lease_spend_most(share->lease, SUB_COST, need);
        if (amount == 0)
            continue;
        take(request, share, amount);
        need -= amount;
    }
    if (need > 0)
        cost_leave(request);
    return need == 0;
}

void cost_book(struct request *request)
{
    if (request->cost.booked)
        return;
    request->cost.booked = true;
    for (struct cost_part *part = request->cost.parts; part; part = part->next)
        journal_cell_add(part->share->cell, JOURNAL_COST, (uint64_t)part->amount);
}

void cost_unbook(struct request *request)
{
    if (!request->cost.booked)
        return;
    request->cost.booked = false;
    for (struct cost_part *part = request->cost.parts; part; part = part->next)
        journal_cell_add(part->share->cell, JOURNAL_COST_UNDONE, (uint64_t)part->amount);
}

void cost_leave(struct request *request)
{
    struct cost_part *part = request->cost.parts;
    request->cost.parts = NULL;
    for (; part; part = part->next) {
        if (!request->cost.booked)
            lease_give_back(part->share->lease, SUB_COST, part->amount);
        lease_share_unref(part->share);
    }
}
