/* Whom to ask, and whether what came is an answer. Every step that reads a chain is pinned to one
 * endpoint, because two nodes' answers put together can be a chain that neither has. A node's own
 * words are withheld where they repeat a part of its URL. */
#include "services/payd/rpc.h"

#include "libcommon/eth/abi.h"
#include "libcommon/log.h"
#include "services/payd/endpoint.h"

#include <string.h>
#include <strings.h>

struct node {
    struct endpoint *endpoint;
    struct breaker breaker;
    bool checked;    /* it named the right chain id since it last failed */
    bool was_away;   /* so that a change is logged once */
    bool one_by_one; /* it refuses batches */
    bool behind;
    struct rpc_refusal refusal; /* the last */
};

struct rpc {
    struct rpc_options options;
    struct node *nodes;
    struct node *last; /* that answered */
    bool pins;
    struct node *pinned; /* this step's */
    int64_t next_id;
};

struct question {
    const struct jsonrpc_call *calls;
    size_t count;
    json_t **results;
};

struct rpc *rpc_new(const struct rpc_options *options)
{
    struct rpc *rpc = mem_zalloc(sizeof(*rpc));
    rpc->options = *options;
    rpc->nodes = mem_array(options->count, sizeof(*rpc->nodes));
    for (size_t i = 0; i < options->count; i++) {
        rpc->nodes[i].endpoint = endpoint_new(&rpc->options, &options->endpoints[i]);
        rpc->nodes[i].breaker =
            (struct breaker){.min_ms = options->backoff_min_ms, .max_ms = options->backoff_max_ms};
    }
    return rpc;
}

void rpc_free(struct rpc **rpc_ptr)
{
    struct rpc *rpc = *rpc_ptr;
    *rpc_ptr = NULL;
    if (rpc == NULL)
        return;
    for (size_t i = 0; i < rpc->options.count; i++)
        endpoint_free(&rpc->nodes[i].endpoint);
    free(rpc->nodes);
    free(rpc);
}

static int64_t now_ms(const struct rpc *rpc)
{
    return clock_mono_ms(rpc->options.clock);
}

static bool stopping(const struct rpc *rpc)
{
    return rpc->options.stop != NULL && atomic_load(rpc->options.stop);
}

static void node_failed(struct rpc *rpc, struct node *node, int64_t wait_ms, const char *why)
{
    breaker_failed(&node->breaker, now_ms(rpc), wait_ms);
    node->checked = false;
    node->one_by_one = false;
    if (rpc->last == node)
        rpc->last = NULL;
    if (!node->was_away && !rpc->options.quiet)
        log_warn("RPC endpoint failed", LOG_STR(ENDPOINT, endpoint_name(node->endpoint)),
                 LOG_STR(ERROR, why));
    node->was_away = true;
}

/* Providers say "too often" by errors too, and by codes that also stand for too long a range. */
static bool too_often(const struct jsonrpc_answer *answer, const char *method)
{
    static const char *const words[] = {"rate limit",    "request rate", "too many requests",
                                        "request count", "throttl",      "compute units",
                                        "capacity"};
    if (answer->code == 429 || (answer->code == -32005 && strcmp(method, "eth_getLogs") != 0))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasestr(answer->message, words[i]) != NULL)
            return true;
    }
    return false;
}

static int refusal(struct node *node, const struct jsonrpc_answer *answer, const char *method,
                   enum rpc_fault *fault, struct err *err)
{
    *fault = too_often(answer, method) ? RPC_AWAY : RPC_REFUSED;
    const char *words = endpoint_tells_secret(node->endpoint, answer->message)
                            ? "(the node's message is withheld: it repeats a part of the URL)"
                            : answer->message;
    node->refusal.code = answer->code;
    snprintf(node->refusal.message, sizeof(node->refusal.message), "%s", words);
    memcpy(node->refusal.data, answer->data, sizeof(answer->data));
    return err_set(err, "%s: %s: error %lld: %s", endpoint_name(node->endpoint), method,
                   (long long)answer->code, words);
}

static void results_drop(const struct question *question)
{
    for (size_t i = 0; i < question->count; i++) {
        json_decref(question->results[i]);
        question->results[i] = NULL;
    }
}

/* Takes the answers over; one error among them refuses all. */
static int results_take(struct node *node, const struct question *question,
                        struct jsonrpc_answer *answers, enum rpc_fault *fault, struct err *err)
{
    int rc = 0;
    *fault = RPC_NONE;
    for (size_t i = 0; i < question->count; i++) {
        if (rc == 0 && answers[i].failed)
            rc = refusal(node, &answers[i], question->calls[i].method, fault, err);
        question->results[i] = MEM_STEAL(answers[i].result);
    }
    if (rc != 0)
        results_drop(question);
    return rc;
}

static int ask_one(struct rpc *rpc, struct node *node, const struct jsonrpc_call *call,
                   json_t **result, int64_t *wait_ms, enum rpc_fault *fault, struct err *err)
{
    int64_t id = ++rpc->next_id;
    AUTO_FREE char *request = jsonrpc_request(id, call->method, json_deep_copy(call->params));
    struct endpoint_reply reply;
    AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
    int rc = endpoint_post(node->endpoint, request, &reply, fault, err);
    *wait_ms = reply.retry_after_ms;
    if (rc == 0) {
        *fault = RPC_AWAY;
        rc = jsonrpc_answer_parse(reply.body.data, reply.body.len, id, &answer, err);
    }
    buf_free(&reply.body);
    if (rc != 0)
        return rc;
    struct question question = {call, 1, result};
    return results_take(node, &question, &answer, fault, err);
}

/* *singly: it takes no batches; ask one by one. */
static int ask_batch(struct rpc *rpc, struct node *node, const struct question *question,
                     bool *singly, int64_t *wait_ms, enum rpc_fault *fault, struct err *err)
{
    struct jsonrpc_answer answers[JSONRPC_BATCH_MAX];
    struct endpoint_reply reply;
    int64_t id = rpc->next_id + 1;
    rpc->next_id += (int64_t)question->count;
    AUTO_FREE char *request = jsonrpc_batch_request(id, question->calls, question->count);
    int rc = endpoint_post(node->endpoint, request, &reply, fault, err);
    *wait_ms = reply.retry_after_ms;
    *singly = rc != 0 && *fault == RPC_AWAY && reply.status >= 400 && reply.status < 500 &&
              reply.status != 429;
    if (rc == 0) {
        bool refused;
        *fault = RPC_AWAY;
        rc = jsonrpc_batch_parse(reply.body.data, reply.body.len, id, question->count, answers,
                                 &refused, err);
        bool unwell = reply.status == 200 || reply.status == 500;
        *singly = refused ? rc != 0 || !too_often(&answers[0], "") : rc != 0 && !unwell;
        if (refused && rc == 0)
            rc = refusal(node, &answers[0], "batch", fault, err);
    }
    buf_free(&reply.body);
    return rc != 0 ? rc : results_take(node, question, answers, fault, err);
}

static int ask_singly(struct rpc *rpc, struct node *node, const struct question *question,
                      int64_t *wait_ms, enum rpc_fault *fault, struct err *err)
{
    for (size_t i = 0; i < question->count; i++) {
        if (ask_one(rpc, node, &question->calls[i], &question->results[i], wait_ms, fault, err) !=
            0) {
            results_drop(question);
            return -1;
        }
    }
    return 0;
}

static int ask_once(struct rpc *rpc, struct node *node, const struct question *question,
                    int64_t *wait_ms, enum rpc_fault *fault, struct err *err)
{
    bool singly = question->count == 1 || node->one_by_one;
    if (!singly) {
        int rc = ask_batch(rpc, node, question, &singly, wait_ms, fault, err);
        if (rc == 0 || !singly)
            return rc;
        node->one_by_one = true;
        if (!rpc->options.quiet)
            log_info("RPC endpoint takes no batches",
                     LOG_STR(ENDPOINT, endpoint_name(node->endpoint)));
    }
    return ask_singly(rpc, node, question, wait_ms, fault, err);
}

static int ask(struct rpc *rpc, struct node *node, const struct question *question,
               int64_t *wait_ms, enum rpc_fault *fault, struct err *err)
{
    static const char *const words[] = {
        [RPC_NONE] = "ok",
        [RPC_AWAY] = "away",
        [RPC_REFUSED] = "refused",
        [RPC_TOO_LARGE] = "too-large",
    };
    int64_t start = clock_mono_ns(rpc->options.clock);
    int rc = ask_once(rpc, node, question, wait_ms, fault, err);
    double seconds = (double)(clock_mono_ns(rpc->options.clock) - start) / 1e9;
    if (rpc->options.observe != NULL)
        rpc->options.observe(rpc->options.ctx, endpoint_name(node->endpoint),
                             question->count == 1 ? question->calls[0].method : "batch",
                             words[*fault], seconds);
    return rc;
}

static int chain_id_ask(struct rpc *rpc, struct node *node, int64_t *wait_ms, struct err *err)
{
    AUTO_JSON json_t *params = json_array();
    AUTO_JSON json_t *result = NULL;
    const char *name = endpoint_name(node->endpoint);
    struct jsonrpc_call call = {"eth_chainId", params};
    struct question question = {&call, 1, &result};
    enum rpc_fault fault = RPC_NONE;
    struct word word;
    uint64_t id;
    if (ask(rpc, node, &question, wait_ms, &fault, err) != 0)
        return -1;
    const char *text = json_string_value(result);
    if (text == NULL || word_from_hex(text, &word) != 0 || word_to_u64(&word, &id) != 0)
        return err_set(err, "%s: eth_chainId: not a quantity", name);
    if (id != rpc->options.chain_id)
        return err_set(err, "%s: chain id is %llu, configured is %llu", name,
                       (unsigned long long)id, (unsigned long long)rpc->options.chain_id);
    return 0;
}

static int chain_id_check(struct rpc *rpc, struct node *node, int64_t *wait_ms, struct err *err)
{
    if (node->checked)
        return 0;
    if (chain_id_ask(rpc, node, wait_ms, err) != 0)
        return -1;
    node->checked = true;
    if ((node->was_away || node->breaker.failures == 0) && !rpc->options.quiet)
        log_info("RPC endpoint answers", LOG_STR(ENDPOINT, endpoint_name(node->endpoint)),
                 LOG_UINT(CHAIN_ID, rpc->options.chain_id));
    node->was_away = false;
    return 0;
}

/* true: it answered, be it with a refusal; what it said is in *rc. */
static bool try_node(struct rpc *rpc, struct node *node, const struct question *question, int *rc,
                     enum rpc_fault *fault, struct err *err)
{
    int64_t wait_ms = 0;
    *fault = RPC_AWAY;
    *rc = chain_id_check(rpc, node, &wait_ms, err);
    if (*rc == 0)
        *rc = ask(rpc, node, question, &wait_ms, fault, err);
    if (*fault != RPC_AWAY) {
        breaker_answered(&node->breaker);
        return true;
    }
    if (!stopping(rpc))
        node_failed(rpc, node, wait_ms, err == NULL ? "" : err->msg);
    return false;
}

static bool eligible(const struct rpc *rpc, const struct node *node, bool behind)
{
    if (rpc->pinned != NULL)
        return node == rpc->pinned;
    return node->behind == behind && breaker_state(&node->breaker, now_ms(rpc)) != BREAKER_OPEN;
}

static int ask_any(struct rpc *rpc, const struct question *question, enum rpc_fault *fault,
                   struct err *err)
{
    bool asked = false;
    int rc;
    *fault = RPC_AWAY;
    for (size_t i = 0; i < 2 * rpc->options.count; i++) {
        bool behind = i >= rpc->options.count;
        struct node *node = &rpc->nodes[behind ? i - rpc->options.count : i];
        if (!eligible(rpc, node, behind))
            continue;
        asked = true;
        if (try_node(rpc, node, question, &rc, fault, err)) {
            rpc->last = node;
            if (rpc->pins)
                rpc->pinned = node;
            return rc;
        }
        if (stopping(rpc))
            return err_set(err, "stopping");
        if (rpc->pinned != NULL)
            return -1;
    }
    return asked ? -1 : err_set(err, "no RPC endpoint is well; the next try comes by itself");
}

int rpc_call(struct rpc *rpc, const char *method, json_t *params_stolen, json_t **result,
             enum rpc_fault *fault, struct err *err)
{
    AUTO_JSON json_t *params = params_stolen;
    struct jsonrpc_call call = {method, params};
    struct question question = {&call, 1, result};
    *result = NULL;
    return ask_any(rpc, &question, fault, err);
}

int rpc_batch(struct rpc *rpc, const struct jsonrpc_call *calls, size_t count, json_t **results,
              enum rpc_fault *fault, struct err *err)
{
    struct question question = {calls, count, results};
    memset(results, 0, count * sizeof(json_t *));
    *fault = RPC_REFUSED;
    if (count == 0 || count > JSONRPC_BATCH_MAX)
        return err_set(err, "a batch of %zu calls", count);
    return ask_any(rpc, &question, fault, err);
}

int rpc_call_at(struct rpc *rpc, size_t endpoint, const char *method, json_t *params_stolen,
                json_t **result, enum rpc_fault *fault, struct err *err)
{
    AUTO_JSON json_t *params = params_stolen;
    struct jsonrpc_call call = {method, params};
    struct question question = {&call, 1, result};
    struct node *node = &rpc->nodes[endpoint];
    int rc = -1;
    *result = NULL;
    *fault = RPC_AWAY;
    if (breaker_state(&node->breaker, now_ms(rpc)) == BREAKER_OPEN)
        return err_set(err, "%s: left alone for a while", endpoint_name(node->endpoint));
    return try_node(rpc, node, &question, &rc, fault, err) ? rc : -1;
}

void rpc_step(struct rpc *rpc)
{
    rpc->pins = true;
    rpc->pinned = NULL;
}

void rpc_distrust(struct rpc *rpc, const char *why)
{
    struct node *node = rpc->last;
    rpc->last = NULL;
    if (node == NULL)
        return;
    if (node->breaker.doubts == 0 && !rpc->options.quiet)
        log_warn("RPC endpoint is not believed", LOG_STR(ENDPOINT, endpoint_name(node->endpoint)),
                 LOG_STR(ERROR, why));
    breaker_doubted(&node->breaker, now_ms(rpc));
}

int rpc_chain_again(struct rpc *rpc, struct err *err)
{
    struct node *node = rpc->last;
    int64_t wait_ms = 0;
    if (node == NULL)
        return err_set(err, "no endpoint has answered");
    if (chain_id_ask(rpc, node, &wait_ms, err) == 0)
        return 0;
    if (!stopping(rpc))
        node_failed(rpc, node, wait_ms, err == NULL ? "" : err->msg);
    return -1;
}

void rpc_trust(struct rpc *rpc)
{
    struct node *node = rpc->last;
    if (node == NULL)
        return;
    if (node->breaker.doubts > 0 && !rpc->options.quiet)
        log_info("RPC endpoint is believed again",
                 LOG_STR(ENDPOINT, endpoint_name(node->endpoint)));
    breaker_trusted(&node->breaker);
}

void rpc_set_behind(struct rpc *rpc, size_t endpoint, bool behind)
{
    rpc->nodes[endpoint].behind = behind;
}

int rpc_last(const struct rpc *rpc)
{
    return rpc->last == NULL ? -1 : (int)(rpc->last - rpc->nodes);
}

enum breaker_state rpc_breaker(const struct rpc *rpc, size_t endpoint)
{
    return breaker_state(&rpc->nodes[endpoint].breaker, now_ms(rpc));
}

size_t rpc_count(const struct rpc *rpc)
{
    return rpc->options.count;
}

const char *rpc_endpoint_name(const struct rpc *rpc, size_t endpoint)
{
    return endpoint_name(rpc->nodes[endpoint].endpoint);
}

const struct rpc_refusal *rpc_refusal(const struct rpc *rpc)
{
    static const struct rpc_refusal none;
    return rpc->last == NULL ? &none : &rpc->last->refusal;
}
