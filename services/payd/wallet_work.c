/* What the wallet does, job by job. The order is what makes it safe: gas is estimated before a
 * nonce is taken, what is signed is committed before it is sent, a nonce is given up only when
 * another transaction holds it at confirmed depth, and a job is over only at that depth too. */
#include "services/payd/wallet_work.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "services/payd/gauges.h"
#include "services/payd/trouble.h"
#include "services/payd/wallet_store.h"

#include <inttypes.h>
#include <string.h>

#define IN_FLIGHT      16 /* nodes keep few transactions of one address */
#define MINED_MAX      64
#define STRAYS_MAX     16
#define REFUSALS       3 /* in a row until a job has failed */
#define BACKOFF_MS_MAX 30000
#define PATIENT_MS_MAX 300000 /* where nothing changes soon, and many may wait */
#define RESEND_MS_MAX  15000
#define LOOK_MS_MAX    15000
#define LATE_MS        5000 /* a turn may begin, or last, so much longer */
#define AWAY_MS        1000
#define LOOK_POLLS     15 /* without work the chain is looked at this much less often */

enum told { TOLD_NOTHING, TOLD_SPENT, TOLD_WELL };

struct wallet_work {
    struct payd *payd;
    const struct settings_wallet *settings;
    struct signer *signer;
    struct rpc *rpc;
    struct wallet_store store;
    struct wallet_view view;
    struct wallet_chain chain;
    struct fees_policy policy;
    char address[WALLET_STORE_ADDRESS], contract[WALLET_STORE_ADDRESS];
    int64_t in_flight;
    int64_t looked_at; /* monotonic ms */
    int64_t gap, gap_since;
    bool waits[WALLET_WAITS];
    int64_t until[WALLET_WAITS]; /* monotonic ms: what a queued job waits for, until it is tried */
    enum told told;              /* of the budget */
    struct err spent;            /* in the signer's words */
};

static const struct {
    const char *name, *words;
} waits[WALLET_WAITS] = {
    [WALLET_WAIT_RPC] = {"rpc", "no RPC endpoint or no database answers"},
    [WALLET_WAIT_SIGNER] = {"signer", "the signer process does not sign"},
    [WALLET_WAIT_BUDGET] = {"budget",
                            "wallet.max_spend_per_hour is spent: the signer signs again as "
                            "the hour passes"},
    [WALLET_WAIT_BEHIND] = {"node-behind", "the node is behind what was read before"},
    [WALLET_WAIT_UNPRICED] = {"not-eip1559", "the chain's blocks name no base fee (EIP-1559)"},
    [WALLET_WAIT_FEE_CAP] = {"fee-cap", "gas costs more than wallet.max_fee_per_gas or "
                                        "wallet.max_priority_fee_per_gas allow"},
    [WALLET_WAIT_BALANCE] = {"balance", "the wallet cannot pay for gas: fund it"},
    [WALLET_WAIT_GAS] = {"gas-limit", "a call takes more gas than wallet.gas_limit"},
    [WALLET_WAIT_NODE] = {"node", "the node refuses a transaction"},
    [WALLET_WAIT_REFUSED] = {"refused",
                             "the contract or the token refuses a refund at the moment: why stands "
                             "with the refund"},
    [WALLET_WAIT_FOREIGN] = {"foreign-nonce", "something else uses the wallet's key"},
    [WALLET_WAIT_GAP] = {"nonce-gap", "a nonce before those that were sent is unused"},
};

const char *wallet_work_wait_name(enum wallet_wait what)
{
    return waits[what].name;
}

const char *wallet_work_wait_words(enum wallet_wait what)
{
    return waits[what].words;
}

bool wallet_work_waits(const struct wallet_work *work, enum wallet_wait what)
{
    return work->waits[what];
}

void wallet_work_set_wait(struct wallet_work *work, enum wallet_wait what)
{
    work->waits[what] = true;
}

static struct rpc *rpc_make(const struct payd *payd)
{
    struct rpc_options options = payd_rpc(payd);
    options.quiet = true;
    return rpc_new(&options);
}

struct wallet_work *wallet_work_new(struct payd *payd, struct signer *signer)
{
    struct wallet_work *work = mem_zalloc(sizeof(*work));
    const struct settings_wallet *settings = &payd->settings->wallet;
    uint8_t address[20];
    *work = (struct wallet_work){
        .payd = payd,
        .settings = settings,
        .signer = signer,
        .store = {.payd = payd},
        .policy = {settings->max_fee_per_gas, settings->max_priority_fee_per_gas, settings->bump},
        .looked_at = INT64_MIN / 2,
        .gap = -1};
    work->rpc = rpc_make(payd);
    signer_address(signer, address);
    hex_encode(address, 20, work->address);
    hex_encode(payd->target.domain.contract, 20, work->contract);
    return work;
}

void wallet_work_free(struct wallet_work **work)
{
    if (*work == NULL)
        return;
    rpc_free(&(*work)->rpc);
    free(*work);
    *work = NULL;
}

static int64_t doubled(const struct wallet_work *work, int64_t times, int64_t max)
{
    int64_t pause = work->settings->poll_ms;
    for (int64_t i = 0; i < times && pause < max; i++)
        pause *= 2;
    return pause < max ? pause : max;
}

static int64_t pause_after(const struct wallet_work *work, int64_t attempts)
{
    return doubled(work, attempts, BACKOFF_MS_MAX);
}

static int64_t resend_ms(const struct wallet_work *work)
{
    int64_t pause = work->settings->bump_after_ms / 3;
    return pause < RESEND_MS_MAX ? pause : RESEND_MS_MAX;
}

static void count(struct wallet_work *work, const char *what)
{
    metrics_count(work->payd->metrics, GAUGES_WALLET_TRANSACTIONS, what, NULL);
}

/* The job waits for something that an operator may have to mend. */
static int hold(struct wallet_work *work, const struct wallet_row *row, enum wallet_wait what,
                const char *why, struct err *err)
{
    int64_t pause =
        doubled(work, row->attempts, what == WALLET_WAIT_REFUSED ? PATIENT_MS_MAX : BACKOFF_MS_MAX);
    work->waits[what] = true;
    work->until[what] = clock_mono_ms(&clock_system) + pause + LATE_MS;
    if (row->attempts == 0)
        log_warn("the wallet waits", LOG_STR(NAME, row->key), LOG_STR(REASON, why));
    return wallet_store_wait(&work->store, row, why, pause, err);
}

static int end(struct wallet_work *work, const struct wallet_row *row, enum wallet_job_state state,
               const char *why, struct err *err)
{
    if (wallet_store_over(&work->store, row, state, why, err) != 0)
        return -1;
    count(work, wallet_job_state_name(state));
    if (state == WALLET_JOB_FAILED)
        log_error("a job of the wallet has failed", LOG_STR(NAME, row->key), LOG_STR(REASON, why),
                  LOG_STR(HASH, row->tx_hash));
    else
        log_info("a job of the wallet is done", LOG_STR(NAME, row->key),
                 LOG_STR(REASON, why == NULL ? "" : why), LOG_STR(HASH, row->tx_hash),
                 LOG_INT(BLOCK, row->block));
    if (state == WALLET_JOB_FAILED)
        payd_hint(work->payd);
    return 0;
}

static void tell_answer(struct wallet_work *work, const struct wallet_row *row, const char *hash,
                        enum wallet_sent sent, const char *words)
{
    static const enum wallet_wait means[] = {
        [WALLET_SENT_TAKEN] = WALLET_WAITS,       [WALLET_SENT_USED] = WALLET_WAITS,
        [WALLET_SENT_POOR] = WALLET_WAIT_BALANCE, [WALLET_SENT_CHEAP] = WALLET_WAIT_FEE_CAP,
        [WALLET_SENT_REFUSED] = WALLET_WAIT_NODE,
    };

    count(work, sent == WALLET_SENT_TAKEN ? "sent" : "not-taken");
    if (means[sent] == WALLET_WAITS)
        return;
    work->waits[means[sent]] = true;
    if (row->attempts <= 1)
        log_warn("a node does not take a transaction", LOG_STR(NAME, row->key), LOG_STR(HASH, hash),
                 LOG_STR(ERROR, words));
}

/* What is known to the node already is taken again without harm. */
static int send(struct wallet_work *work, const struct wallet_row *row, const char *hash,
                const char *raw, struct err *err)
{
    struct err words = {{0}};
    enum wallet_sent sent;
    if (wallet_node_send(work->rpc, raw, &sent, &words) != 0)
        return err_set(err, "%s", words.msg);
    tell_answer(work, row, hash, sent, words.msg);
    bool taken = sent == WALLET_SENT_TAKEN;
    return wallet_store_sent(&work->store, row, hash, taken ? NULL : words.msg,
                             taken ? resend_ms(work) : pause_after(work, row->attempts), err);
}

struct offer {
    int64_t nonce, attempt;
    struct fees fees;
    int64_t gas;
};

static int keep(struct wallet_work *work, struct wallet_row *row, const struct offer *offer,
                const struct signer_result *result, struct err *err)
{
    char hash[EVM_HASH];
    AUTO_FREE char *raw = mem_alloc(2 * result->raw.len + 3);
    word_hex(&result->hash, hash);
    hex_encode(result->raw.data, result->raw.len, raw);
    struct wallet_signed tx = {.address = work->address,
                               .nonce = offer->nonce,
                               .attempt = offer->attempt,
                               .hash = hash,
                               .raw = raw,
                               .fees = offer->fees,
                               .gas = offer->gas};
    if (wallet_store_sign(&work->store, row, &tx, err) != 0)
        return -1;
    row->state = WALLET_JOB_SENT;
    row->nonce = offer->nonce;
    row->attempts = 0;
    count(work, offer->attempt == 1 ? "signed" : "replaced");
    log_info("the wallet signed a transaction", LOG_STR(NAME, row->key), LOG_STR(HASH, hash),
             LOG_INT(SEQ, offer->nonce), LOG_INT(ATTEMPT, offer->attempt));
    return send(work, row, hash, raw, err);
}

/* Not signed now. What was sent already stays as it is, and is sent again meanwhile: 1. */
static int put_off(struct wallet_work *work, const struct wallet_row *row,
                   enum signer_verdict verdict, const char *why, struct err *err)
{
    enum wallet_wait what = WALLET_WAIT_SIGNER;
    if (verdict == SIGNER_SPENT) {
        what = WALLET_WAIT_BUDGET;
        err_set(&work->spent, "%s", why);
    }
    if (row->state == WALLET_JOB_QUEUED)
        return hold(work, row, what, why, err);
    work->waits[what] = true;
    return 1;
}

/* The signer's books are empty whenever it, or another leader, has started: what is kept of its
 * signatures is not. 1: there is room; 0: none, said in *why. */
static int within_budget(struct wallet_work *work, const struct offer *offer, struct err *why,
                         struct err *err)
{
    struct wallet_spent spent;
    int64_t cost = fees_cost_gwei(&offer->fees, offer->gas);
    int64_t budget = work->settings->max_spend_per_hour;
    if (wallet_store_spent(&work->store, work->address, offer->nonce, &spent, err) != 0)
        return -1;
    int64_t of_nonce = cost > spent.own ? cost : spent.own;
    if (spent.others <= budget && of_nonce <= budget - spent.others)
        return 1;
    err_set(why,
            "the budget of %" PRId64 " gwei an hour is spent: %" PRId64
            " are signed for, this asks for %" PRId64,
            budget, spent.others, of_nonce);
    return 0;
}

static int sign(struct wallet_work *work, struct wallet_row *row, const struct offer *offer,
                struct err *err)
{
    uint8_t data[WALLET_JOB_DATA_MAX];
    struct signer_result result = {0};
    struct err words = {{0}};
    struct eth_tx tx = {.chain_id = work->payd->target.domain.chain_id,
                        .nonce = (uint64_t)offer->nonce,
                        .priority_fee = (uint64_t)offer->fees.priority_fee,
                        .max_fee = (uint64_t)offer->fees.max_fee,
                        .gas = (uint64_t)offer->gas,
                        .data = data};
    memcpy(tx.to, work->payd->target.domain.contract, 20);
    if (hex_decode_any(row->data, data, sizeof(data), &tx.data_len) != 0)
        return err_set(err, "wallet job %s: its data is not hex", row->key);
    int rc = within_budget(work, offer, &words, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return put_off(work, row, SIGNER_SPENT, words.msg, err);
    rc = signer_sign(work->signer, &tx, &result, &words);
    if (rc == 0)
        rc = keep(work, row, offer, &result, err);
    else if (result.verdict == SIGNER_REFUSED && row->state == WALLET_JOB_QUEUED)
        rc = end(work, row, WALLET_JOB_FAILED, words.msg, err);
    else
        rc = put_off(work, row, result.verdict, words.msg, err);
    signer_result_clear(&result);
    return rc;
}

static bool is_refund(const struct wallet_row *row)
{
    return row->kind == WALLET_JOB_REFUND || row->kind == WALLET_JOB_REFUND_TRANSFER;
}

/* One node says so, of its newest block: what must not be lost is done when the chain, as it was
 * read, has it for good. */
static int already(struct wallet_work *work, const struct wallet_row *row, struct err *err)
{
    bool returned = true;
    if (row->kind == WALLET_JOB_REFUND_TRANSFER &&
        wallet_store_returned(&work->store, row->target, &returned, err) != 0)
        return -1;
    return returned ? end(work, row, WALLET_JOB_DONE, "it is so already", err)
                    : wallet_store_wait(&work->store, row,
                                        "it is so already, in no block that is confirmed",
                                        pause_after(work, row->attempts), err);
}

static int refused(struct wallet_work *work, const struct wallet_row *row,
                   const struct wallet_revert *revert, struct err *err)
{
    if (!revert->reverted)
        return hold(work, row, WALLET_WAIT_NODE, revert->why, err);
    if (revert->already)
        return already(work, row, err);
    /* What somebody waits for is not lost by a pause, a missing role or a pot that is empty. */
    if (is_refund(row) && !revert->final)
        return hold(work, row, WALLET_WAIT_REFUSED, revert->why, err);
    /* A block that left the chain for a moment is no reason to give up. */
    if (row->refusals + 1 < REFUSALS)
        return wallet_store_refused(&work->store, row, revert->why,
                                    pause_after(work, row->refusals), err);
    return end(work, row, WALLET_JOB_FAILED, revert->why, err);
}

/* What keeps it from being signed now. 1: nothing does, and *offer tells with what. */
static int weigh(struct wallet_work *work, const struct wallet_row *row, struct offer *offer,
                 struct err *err)
{
    struct wallet_revert revert;
    struct err words = {{0}};
    if (!work->view.priced)
        return hold(work, row, WALLET_WAIT_UNPRICED, waits[WALLET_WAIT_UNPRICED].words, err);
    int rc = wallet_node_estimate(work->rpc, work->address, work->contract, row->data, &offer->gas,
                                  &revert, &words);
    /* One answer that cannot be had must not hold up the others. */
    if (rc < 0)
        return hold(work, row, WALLET_WAIT_RPC, words.msg, err);
    if (rc > 0)
        return refused(work, row, &revert, err);
    if (offer->gas > work->settings->gas_limit)
        return hold(work, row, WALLET_WAIT_GAS, waits[WALLET_WAIT_GAS].words, err);
    offer->gas += offer->gas / 4;
    if (offer->gas > work->settings->gas_limit)
        offer->gas = work->settings->gas_limit;
    if (!fees_first(&work->policy, &work->view.market, &offer->fees))
        return hold(work, row, WALLET_WAIT_FEE_CAP, waits[WALLET_WAIT_FEE_CAP].words, err);
    if (fees_cost_gwei(&offer->fees, offer->gas) > work->view.balance_gwei)
        return hold(work, row, WALLET_WAIT_BALANCE, waits[WALLET_WAIT_BALANCE].words, err);
    return 1;
}

static int begin(struct wallet_work *work, struct wallet_row *row, struct err *err)
{
    struct offer offer = {.attempt = 1};
    int64_t from = work->view.latest > work->view.pending ? work->view.latest : work->view.pending;
    int rc = weigh(work, row, &offer, err);
    if (rc != 1)
        return rc;
    if (wallet_store_next(&work->store, work->address, from, &offer.nonce, err) != 0)
        return -1;
    work->view.balance_gwei -= fees_cost_gwei(&offer.fees, offer.gas);
    work->in_flight++;
    return sign(work, row, &offer, err);
}

/* The first receipt of any of them. */
static int search(struct wallet_work *work, const struct wallet_attempts *attempts,
                  struct wallet_receipt *receipt, const char **hash, struct err *err)
{
    *hash = NULL;
    for (size_t i = 0; i < attempts->count; i++) {
        bool found;
        if (wallet_node_receipt(work->rpc, attempts->items[i].hash, receipt, &found, err) != 0)
            return -1;
        if (found) {
            *hash = attempts->items[i].hash;
            return 0;
        }
    }
    return 0;
}

/* A block beyond those that were read is not believed yet: it might never come, and the job is its.
 */
static int mined(struct wallet_work *work, const struct wallet_row *row, const char *hash,
                 const struct wallet_receipt *receipt, struct err *err)
{
    if (receipt->block > work->chain.cursor)
        return 0;
    if (wallet_store_mined(&work->store, row, hash, receipt, err) != 0)
        return -1;
    count(work, receipt->reverted ? "reverted" : "mined");
    log_info("a transaction of the wallet is mined", LOG_STR(NAME, row->key), LOG_STR(HASH, hash),
             LOG_INT(SEQ, row->nonce), LOG_INT(BLOCK, receipt->block));
    return 0;
}

/* The nonce is used and no attempt has a receipt: given up only where that is confirmed. */
static int foreign(struct wallet_work *work, const struct wallet_row *row, struct err *err)
{
    int64_t used, depth = work->chain.confirmed;
    if (depth > work->view.head)
        depth = work->view.head;
    work->waits[WALLET_WAIT_FOREIGN] = true;
    if (depth < 0)
        return 0;
    if (wallet_node_count(work->rpc, row->address, depth, &used, err) != 0)
        return -1;
    if (used <= row->nonce)
        return 0;
    if (wallet_store_lost(&work->store, row, err) != 0)
        return -1;
    count(work, "lost");
    log_error("another transaction holds a nonce of the wallet: something else uses its key",
              LOG_STR(NAME, row->key), LOG_INT(SEQ, row->nonce), LOG_INT(BLOCK, depth));
    return 0;
}

/* False: it is not to be replaced, or cannot be. */
static bool outbid(struct wallet_work *work, const struct wallet_row *row,
                   const struct wallet_attempt *newest, struct offer *offer)
{
    bool first = row->nonce == work->view.latest && strcmp(row->address, work->address) == 0;
    if (!first || newest->age_ms < work->settings->bump_after_ms)
        return false;
    *offer =
        (struct offer){.nonce = row->nonce, .attempt = newest->attempt + 1, .gas = newest->gas};
    bool possible = work->view.priced && work->view.market.base <= work->policy.cap &&
                    fees_bump(&work->policy, &work->view.market, &newest->fees, &offer->fees);
    bool paid = !possible || fees_cost_gwei(&offer->fees, offer->gas) <= work->view.balance_gwei;
    if (!possible)
        work->waits[WALLET_WAIT_FEE_CAP] = true;
    /* Nodes would not take it, and what they have taken is not offered again once it is replaced.
     */
    if (!paid)
        work->waits[WALLET_WAIT_BALANCE] = true;
    return possible && paid;
}

static int follow_sent(struct wallet_work *work, struct wallet_row *row, struct err *err)
{
    AUTO_WALLET_ATTEMPTS struct wallet_attempts attempts = {0};
    struct wallet_receipt receipt;
    struct offer offer;
    const char *hash;
    int64_t used = work->view.latest;
    if (strcmp(row->address, work->address) != 0 &&
        wallet_node_count(work->rpc, row->address, -1, &used, err) != 0)
        return -1;
    if (row->nonce >= used)
        work->in_flight++;
    if (wallet_store_attempts(&work->store, row->address, row->nonce, &attempts, err) != 0)
        return -1;
    if (row->nonce < used) {
        if (search(work, &attempts, &receipt, &hash, err) != 0)
            return -1;
        return hash == NULL ? foreign(work, row, err) : mined(work, row, hash, &receipt, err);
    }
    int rc = outbid(work, row, &attempts.items[0], &offer) ? sign(work, row, &offer, err) : 1;
    if (rc != 1)
        return rc;
    return row->due ? send(work, row, attempts.items[0].hash, attempts.items[0].raw, err) : 0;
}

static bool confirmed(const struct wallet_work *work, const struct wallet_row *row)
{
    int64_t after = work->payd->settings->chain.confirm_after_ms;
    return row->block <= work->chain.confirmed || (after > 0 && row->mined_ms >= after);
}

/* What was well when it was tried may not be so any more in its block: a refund is tried again, and
 * not for ever, as each time costs. */
static int reverted(struct wallet_work *work, const struct wallet_row *row, struct err *err)
{
    if (!is_refund(row) || row->refusals + 1 >= REFUSALS)
        return end(work, row, WALLET_JOB_FAILED, "its transaction reverted", err);
    log_warn("a refund's transaction reverted: it is tried again", LOG_STR(NAME, row->key),
             LOG_STR(HASH, row->tx_hash), LOG_INT(BLOCK, row->block));
    return wallet_store_reverted(&work->store, row, pause_after(work, row->refusals), err);
}

static int follow_mined(struct wallet_work *work, struct wallet_row *row, struct err *err)
{
    AUTO_WALLET_ATTEMPTS struct wallet_attempts attempts = {0};
    struct wallet_receipt receipt;
    const char *hash;
    bool found;
    /* Until then only a nonce that is free again matters, which look() notices. A node that has not
     * come so far knows nothing of it. */
    if (!confirmed(work, row) || work->view.head < row->block)
        return 0;
    if (wallet_node_receipt(work->rpc, row->tx_hash, &receipt, &found, err) != 0)
        return -1;
    if (found && strcmp(receipt.block_hash, row->block_hash) == 0)
        return row->reverted ? reverted(work, row, err)
                             : end(work, row, WALLET_JOB_DONE, NULL, err);
    if (found)
        return mined(work, row, row->tx_hash, &receipt, err);
    if (wallet_store_attempts(&work->store, row->address, row->nonce, &attempts, err) != 0 ||
        search(work, &attempts, &receipt, &hash, err) != 0)
        return -1;
    if (hash != NULL)
        return mined(work, row, hash, &receipt, err);
    count(work, "unmined");
    log_warn("a transaction of the wallet left the chain", LOG_STR(NAME, row->key),
             LOG_STR(HASH, row->tx_hash), LOG_INT(SEQ, row->nonce));
    return wallet_store_unmined(&work->store, row, err);
}

static int each(struct wallet_work *work, enum wallet_job_state state, int64_t max,
                int (*fn)(struct wallet_work *, struct wallet_row *, struct err *), struct err *err)
{
    AUTO_FREE struct wallet_row *rows = NULL;
    size_t n;
    if (max <= 0)
        return 0;
    if (wallet_store_jobs(&work->store, state, max, &rows, &n, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (atomic_load(&work->payd->stop))
            return err_set(err, "stopping");
        if (fn(work, &rows[i], err) != 0)
            return -1;
    }
    return 0;
}

/* Bytes of nonces that no job follows any more, but that later ones wait for. */
static int resend_strays(struct wallet_work *work, struct err *err)
{
    AUTO_FREE int64_t *nonces = NULL;
    size_t n;
    if (wallet_store_strays(&work->store, work->address, work->view.latest, STRAYS_MAX, &nonces, &n,
                            err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        AUTO_WALLET_ATTEMPTS struct wallet_attempts attempts = {0};
        struct err words = {{0}};
        enum wallet_sent sent;
        if (wallet_store_attempts(&work->store, work->address, nonces[i], &attempts, err) != 0 ||
            wallet_node_send(work->rpc, attempts.items[0].raw, &sent, &words) != 0)
            return err_set(err, "%s", words.msg);
    }
    return 0;
}

/* The last job in line is queued again: the free nonce goes to it, and what it had signed stays a
 * stray. Our calls have an effect once only, whichever of the two is mined. */
static int gap_fill(struct wallet_work *work, struct wallet_row *last, struct err *err)
{
    log_warn("a nonce that nobody uses holds up the wallet: it is given to the last job",
             LOG_STR(NAME, last->key), LOG_INT(SEQ, work->gap));
    count(work, "gap-filled");
    work->gap = -1;
    return wallet_store_lost(&work->store, last, err);
}

/* Something else had a nonce and lost it again (dropped, or its block left the chain). */
static int gap_look(struct wallet_work *work, struct err *err)
{
    AUTO_FREE struct wallet_row *rows = NULL;
    size_t n;
    int64_t gap, now = clock_mono_ms(&clock_system);
    if (wallet_store_jobs(&work->store, WALLET_JOB_SENT, IN_FLIGHT * 2, &rows, &n, err) != 0 ||
        wallet_store_next(&work->store, work->address, work->view.latest, &gap, err) != 0)
        return -1;
    struct wallet_row *last = n == 0 ? NULL : &rows[n - 1];
    bool open = last != NULL && last->nonce > gap && work->view.pending <= gap &&
                strcmp(last->address, work->address) == 0;
    if (!open || gap != work->gap)
        work->gap_since = now;
    work->gap = open ? gap : -1;
    if (!open || now - work->gap_since < work->settings->bump_after_ms)
        return 0;
    work->waits[WALLET_WAIT_GAP] = true;
    return gap_fill(work, last, err);
}

static int look(struct wallet_work *work, struct err *err)
{
    int64_t revived;
    struct metrics *metrics = work->payd->metrics;
    if (wallet_node_look(work->rpc, work->address, &work->view, err) != 0 ||
        wallet_store_chain(&work->store, &work->chain, err) != 0)
        return -1;
    work->looked_at = clock_mono_ms(&clock_system);
    metric_set(metrics_cell(metrics, GAUGES_WALLET_BALANCE, NULL), work->view.balance_gwei);
    metric_set(metrics_cell(metrics, GAUGES_WALLET_NONCE, NULL), work->view.latest);
    work->waits[WALLET_WAIT_BEHIND] = work->view.head < work->chain.cursor;
    if (work->waits[WALLET_WAIT_BEHIND])
        return 0;
    if (wallet_store_revive(&work->store, work->address, work->view.latest, work->view.head,
                            &revived, err) != 0)
        return -1;
    if (revived > 0)
        log_warn("transactions of the wallet left the chain", LOG_INT(COUNT, revived));
    return resend_strays(work, err);
}

static void show(struct wallet_work *work, const struct wallet_counts *counts)
{
    struct metrics *metrics = work->payd->metrics;
    for (int i = 0; i < WALLET_JOB_STATES; i++) {
        const char *const name[] = {wallet_job_state_name((enum wallet_job_state)i)};
        if (i != WALLET_JOB_DONE)
            metric_set(metrics_cell(metrics, GAUGES_WALLET_JOBS, name), counts->jobs[i]);
    }
    metric_set(metrics_cell(metrics, GAUGES_WALLET_OLDEST, NULL), counts->oldest_s);
}

static int64_t look_every(const struct wallet_work *work)
{
    int64_t pause = work->settings->poll_ms * LOOK_POLLS;
    return pause < LOOK_MS_MAX ? pause : LOOK_MS_MAX;
}

/* A job that waits is tried now and then only: what it waits for stays true in between. */
static void waits_begin(struct wallet_work *work)
{
    int64_t now = clock_mono_ms(&clock_system);
    for (int i = 0; i < WALLET_WAITS; i++)
        work->waits[i] = work->until[i] > now;
}

static int budget_tell(struct wallet_work *work, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct payd *payd = work->payd;
    struct trouble_site site = {atomic_load(&payd->follower), payd->target.domain.chain_id};
    bool changed, is_spent = work->waits[WALLET_WAIT_BUDGET];
    if (work->told == (is_spent ? TOLD_SPENT : TOLD_WELL))
        return 0;
    if (pg_acquire(payd->pg, AWAY_MS, &conn, err) != 0)
        return -1;
    int rc = is_spent
                 ? trouble_begin(conn, &site, TROUBLE_BUDGET, 0, work->spent.msg, &changed, err)
                 : trouble_end(conn, &site, TROUBLE_BUDGET, &changed, err);
    if (rc != 0)
        return -1;
    work->told = is_spent ? TOLD_SPENT : TOLD_WELL;
    if (!changed)
        return 0;
    if (is_spent)
        log_error("the wallet's budget of this hour is spent", LOG_STR(REASON, work->spent.msg));
    else
        log_info("the wallet is within its budget again");
    payd_hint(payd);
    return 0;
}

static int turn(struct wallet_work *work, bool signs, struct err *err)
{
    if (look(work, err) != 0)
        return -1;
    if (work->waits[WALLET_WAIT_BEHIND])
        return 0;
    if (each(work, WALLET_JOB_MINED, MINED_MAX, follow_mined, err) != 0 ||
        each(work, WALLET_JOB_SENT, IN_FLIGHT * 2, follow_sent, err) != 0 ||
        gap_look(work, err) != 0)
        return -1;
    return signs ? each(work, WALLET_JOB_QUEUED, IN_FLIGHT - work->in_flight, begin, err) : 0;
}

int wallet_work_turn(struct wallet_work *work, int64_t epoch, struct err *err)
{
    struct wallet_counts counts;
    if (work->store.epoch != epoch)
        work->told = TOLD_NOTHING;
    work->store.epoch = epoch;
    bool signs = signer_tick(work->signer);
    if (wallet_store_counts(&work->store, &counts, err) != 0)
        return -1;
    show(work, &counts);
    if (counts.open == 0 && clock_mono_ms(&clock_system) - work->looked_at < look_every(work))
        return 0;
    waits_begin(work);
    work->waits[WALLET_WAIT_SIGNER] = !signs;
    work->in_flight = 0;
    return turn(work, signs, err) != 0 ? -1 : budget_tell(work, err);
}
