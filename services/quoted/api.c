/* The handlers. A request for a quote passes checks that cost nothing first (fields, then rates),
 * then asks payd for the slot, and last signs and keeps; a quote that could not be kept is not
 * given, because its owner could not read it again. */
#include "services/quoted/api.h"

#include "libcommon/eth/hex.h"
#include "libcommon/json.h"
#include "libcommon/log.h"
#include "services/quoted/ask.h"
#include "services/quoted/discovery.h"
#include "services/quoted/gauges.h"
#include "services/quoted/offer.h"
#include "services/quoted/vault.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BODY_MAX 4096

static void get_pricing(struct http_request *request, void *ctx)
{
    struct quoted *quoted = ctx;
    struct pricebook *book = quoted_shown(quoted);
    http_reply_text(request, 200, "application/json", book->pricing, book->pricing_len);
    quoted_give_back(quoted, &book);
}

#define REFUSE(quoted, request, problem, ...)                                                      \
    do {                                                                                           \
        metrics_count((quoted)->metrics, GAUGES_REFUSALS, problem_get(problem)->name, NULL);       \
        http_reply_problem((request), (problem), __VA_ARGS__);                                     \
    } while (0)

struct order {
    const char *service, *tier, *token;
    int64_t days;
    uint8_t subscriber[20];
    char subscriber_hex[43]; /* lower case */
};

/* -1: refused. */
static int read_order(struct http_request *request, struct order *out)
{
    static const char *const fields[] = {"service",    "tier",  "duration_days",
                                         "subscriber", "token", NULL};
    static const uint8_t zero[20];
    struct err err;
    json_t *body = http_json_object(request);
    if (body == NULL || http_json_only(request, body, fields) != 0)
        return -1;
    const char *subscriber;
    if ((out->service = http_json_string(request, body, "service", PRICEBOOK_NAME)) == NULL ||
        (out->tier = http_json_string(request, body, "tier", PRICEBOOK_NAME)) == NULL ||
        http_json_int(request, body, "duration_days", 1, 3660, &out->days) != 0 ||
        (subscriber = http_json_string(request, body, "subscriber", 42)) == NULL ||
        (out->token = http_json_string(request, body, "token", 42)) == NULL)
        return -1;
    if (hex_address(subscriber, out->subscriber, &err) != 0) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "subscriber: %s", err.msg);
        return -1;
    }
    if (memcmp(out->subscriber, zero, 20) == 0) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD,
                           "subscriber: must not be the zero address");
        return -1;
    }
    hex_encode(out->subscriber, 20, out->subscriber_hex);
    return 0;
}

static int refuse_field(struct http_request *request, const char *field, const char *what)
{
    http_reply_problem(request, PROBLEM_INVALID_FIELD,
                       "%s: %s; GET /pricing lists what is for sale", field, what);
    return -1;
}

/* Finds what was ordered in the book. -1: refused. */
static int find_wish(struct http_request *request, const struct order *order,
                     struct offer_wish *wish)
{
    const struct pricebook *book = wish->book;
    wish->service = pricebook_service(book, order->service);
    wish->tier = pricebook_tier(book, order->tier);
    wish->token = pricebook_token(book, order->token);
    wish->duration = pricebook_duration(book, order->days);
    if (wish->service == NULL)
        return refuse_field(request, "service", "there is no service of this name");
    if (wish->tier == NULL)
        return refuse_field(request, "tier", "there is no tier of this name");
    if (wish->duration == NULL)
        return refuse_field(request, "duration_days", "this duration is not offered");
    if (wish->token == NULL)
        return refuse_field(request, "token", "there is no token of this symbol or address");
    if (pricebook_amount(book, wish->tier, wish->service, wish->token, wish->duration) == 0)
        return refuse_field(request, "token", "the tier is not sold for this token");
    memcpy(wish->subscriber, order->subscriber, 20);
    return 0;
}

static void retry_after(struct http_request *request, int64_t ms)
{
    char seconds[24];
    snprintf(seconds, sizeof(seconds), "%" PRId64, (ms + 999) / 1000);
    http_reply_header(request, "Retry-After", seconds);
}

static int admit(struct quoted *quoted, struct http_request *request, const struct order *order)
{
    const struct settings_limits *limits = &quoted->settings->limits;
    const struct vault_rate own = {limits->subscriber_per_minute, limits->subscriber_burst};
    const struct vault_rate all = {limits->client_per_minute, limits->client_burst};
    struct err err;
    int64_t wait_ms;
    if (vault_admit(quoted->redis, order->subscriber_hex, http_client(request), &own, &all,
                    &wait_ms, &err) != 0) {
        log_warn("no quote without redis", LOG_STR(ERROR, err.msg),
                 LOG_STR(REQUEST_ID, http_request_id(request)));
        REFUSE(quoted, request, PROBLEM_UNAVAILABLE, "quotes cannot be kept at the moment");
        return -1;
    }
    if (wait_ms == 0)
        return 0;
    retry_after(request, wait_ms);
    REFUSE(quoted, request, PROBLEM_RATE_EXCEEDED,
           "too many quotes were asked for; the same quote can be read again with GET /quote/{id}");
    return -1;
}

static int refuse_chain(struct quoted *quoted, struct http_request *request, const char *why)
{
    log_debug("no quote without the chain", LOG_STR(ERROR, why),
              LOG_STR(REQUEST_ID, http_request_id(request)));
    http_reply_header(request, "Retry-After", "5");
    REFUSE(quoted, request, PROBLEM_CHAIN_UNAVAILABLE, "no quote can be given without the chain");
    return -1;
}

static int refuse_signer(struct quoted *quoted, struct http_request *request)
{
    http_reply_header(request, "Retry-After", "5");
    REFUSE(quoted, request, PROBLEM_UNAVAILABLE,
           "the contract's quote signer is none of the keys of this service");
    return -1;
}

/* What the subscriber holds at the head of the chain. -1: refused. */
static int read_slot(struct quoted *quoted, struct http_request *request,
                     const struct offer_wish *wish, struct ask_answer *out)
{
    struct err why;
    switch (ask_slot(quoted, wish, out, &why)) {
    case ASK_AWAY:
        return refuse_chain(quoted, request, why.msg);
    case ASK_SIGNER:
        return refuse_signer(quoted, request);
    case ASK_OK:
        break;
    }
    if (out->revoked) {
        REFUSE(quoted, request, PROBLEM_CONFLICT,
               "this subscription is revoked; no quote is given until the operator lifts that");
        return -1;
    }
    if (out->pending) {
        http_reply_header(request, "Retry-After", "2");
        REFUSE(quoted, request, PROBLEM_PAYMENT_PENDING,
               "a payment for this subscription is seen on the chain and not confirmed yet");
        return -1;
    }
    return 0;
}

/* Terms hold times of 2026 to 2057. -1: refused. */
static int read_clock(struct quoted *quoted, struct http_request *request, struct offer_wish *wish)
{
    int64_t now = clock_wall_s(quoted->clock);
    if (now >= QUOTE_EPOCH && now < TERMS_LAST) {
        wish->bucket = terms_bucket(now, wish->ttl);
        return 0;
    }
    log_error("this machine's clock is wrong: no quote can be signed");
    REFUSE(quoted, request, PROBLEM_UNAVAILABLE, "quotes cannot be signed at the moment");
    return -1;
}

/* Signed by the key of the contract's signer. -1: refused. */
static int sign(struct quoted *quoted, struct http_request *request, const struct offer_wish *wish,
                const struct terms_offer *terms, const char *signer, struct offer *out)
{
    struct err err;
    int rc = -1;
    pthread_rwlock_rdlock(&quoted->keys_lock);
    const struct keyring_key *key = keyring_find(quoted->keys, signer);
    if (key != NULL)
        rc = offer_make(wish, terms, key->key, out, &err);
    pthread_rwlock_unlock(&quoted->keys_lock);
    if (key == NULL) /* the keys changed since payd was asked */
        return refuse_signer(quoted, request);
    if (rc == 0)
        return 0;
    log_error("quote not signed", LOG_STR(ERROR, err.msg));
    REFUSE(quoted, request, PROBLEM_INTERNAL, NULL);
    return -1;
}

/* -1: refused. */
static int keep(struct quoted *quoted, struct http_request *request, const struct offer *offer)
{
    const struct settings_limits *limits = &quoted->settings->limits;
    int64_t left = offer->expires - clock_wall_s(quoted->clock);
    int64_t now = clock_mono_ms(quoted->clock) / 1000, lives = 2 * quoted->settings->ttl_ms / 1000;
    struct err err = {"the clock jumped"};
    bool added;
    if (!tally_add(&quoted->kept, now, lives + 60, limits->kept)) {
        http_reply_header(request, "Retry-After", "60");
        REFUSE(quoted, request, PROBLEM_UNAVAILABLE, "too many quotes are open at the moment");
        return -1;
    }
    bool remember =
        tally_add(&quoted->remembered, now, lives + VAULT_TOMBSTONE_S, limits->remembered);
    int rc = left < 1
                 ? -1
                 : vault_put(quoted->redis, offer->id, offer->body, left, remember, &added, &err);
    if (rc != 0 || !added) {
        tally_take_back(&quoted->kept, now);
        if (remember)
            tally_take_back(&quoted->remembered, now);
    }
    if (rc == 0)
        return 0;
    log_warn("quote not kept", LOG_STR(ERROR, err.msg));
    REFUSE(quoted, request, PROBLEM_UNAVAILABLE, "quotes cannot be kept at the moment");
    return -1;
}

static void issue(struct quoted *quoted, struct http_request *request,
                  const struct offer_wish *wish, const struct terms_offer *terms,
                  const char *signer)
{
    struct offer offer = {0};
    if (sign(quoted, request, wish, terms, signer, &offer) != 0)
        return;
    AUTO_FREE char *body = offer.body;
    if (keep(quoted, request, &offer) != 0)
        return;
    AUTO_FREE char *location = mem_printf("/quote/%s", offer.id);
    http_reply_header(request, "Location", location);
    metrics_count(quoted->metrics, GAUGES_QUOTES, wish->tier->name, terms_kind_name(offer.kind));
    http_reply_text(request, 201, "application/json", body, strlen(body));
}

/* Its answer is kept for a day, also where the quote is one that is there already. -1: refused. */
static int admit_key(struct quoted *quoted, struct http_request *request)
{
    int64_t now = clock_mono_ms(quoted->clock) / 1000;
    if (http_header(request, "Idempotency-Key") == NULL ||
        tally_add(&quoted->idempotent, now, 86400, quoted->settings->limits.idempotent))
        return 0;
    http_reply_header(request, "Retry-After", "60");
    REFUSE(quoted, request, PROBLEM_UNAVAILABLE,
           "too many answers are kept for an Idempotency-Key: ask without one; the same order has "
           "the same quote all the same");
    return -1;
}

static void quote_from(struct quoted *quoted, struct http_request *request,
                       const struct order *order, const struct pricebook *book)
{
    struct offer_wish wish = {.book = book, .domain = quoted->chain.domain};
    struct terms_offer terms;
    struct ask_answer answer;
    struct err why;
    wish.ttl = (uint32_t)(quoted->settings->ttl_ms / 1000);
    if (find_wish(request, order, &wish) != 0 || admit(quoted, request, order) != 0 ||
        admit_key(quoted, request) != 0 || !http_idempotent_begin(request, order->subscriber_hex) ||
        read_slot(quoted, request, &wish, &answer) != 0)
        return;
    if (read_clock(quoted, request, &wish) != 0)
        return;
    if (offer_terms(&wish, &answer.slot, &terms, &why) != TERMS_OK) {
        REFUSE(quoted, request, PROBLEM_CONFLICT, "%s", why.msg);
        return;
    }
    issue(quoted, request, &wish, &terms, answer.signer);
}

static void post_quote(struct http_request *request, void *ctx)
{
    struct quoted *quoted = ctx;
    struct order order;
    if (read_order(request, &order) != 0)
        return;
    struct pricebook *book = quoted_book(quoted);
    if (book == NULL) {
        http_reply_header(request, "Retry-After", "2");
        REFUSE(quoted, request, PROBLEM_UNAVAILABLE, "the price book is not in force yet");
        return;
    }
    quote_from(quoted, request, &order, book);
    quoted_give_back(quoted, &book);
}

static void reply_quote(struct http_request *request, enum vault_state state,
                        const struct buf *body)
{
    switch (state) {
    case VAULT_KEPT:
        http_reply_text(request, 200, "application/json", body->data, body->len);
        break;
    case VAULT_EXPIRED:
        http_reply_problem(request, PROBLEM_QUOTE_EXPIRED, NULL);
        break;
    case VAULT_UNKNOWN:
        http_reply_problem(request, PROBLEM_NOT_FOUND, "there is no quote of this id");
        break;
    }
}

static void get_quote(struct http_request *request, void *ctx)
{
    struct quoted *quoted = ctx;
    AUTO_BUF struct buf body = {0};
    enum vault_state state;
    struct word id;
    struct err err;
    char text[67];
    if (hex_decode(http_param(request, "id"), id.b, sizeof(id.b)) != 0) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "id: must be 0x and 64 hex digits");
        return;
    }
    word_hex(&id, text);
    if (vault_get(quoted->redis, text, &state, &body, &err) != 0) {
        log_warn("quotes cannot be read", LOG_STR(ERROR, err.msg));
        REFUSE(quoted, request, PROBLEM_UNAVAILABLE, "quotes cannot be read at the moment");
        return;
    }
    reply_quote(request, state, &body);
}

static const struct http_route routes[] = {
    {"GET", "/pricing", get_pricing, HTTP_CORS | HTTP_NO_STORE, 0},
    {"POST", "/quote", post_quote, HTTP_CORS | HTTP_NO_STORE | HTTP_IDEMPOTENT, BODY_MAX},
    {"GET", "/quote/{id}", get_quote, HTTP_CORS | HTTP_NO_STORE, 0},
    {"GET", "/.well-known/octroi", discovery_get, HTTP_CORS, 0},
};

static void observe(void *ctx, const struct http_route *route, unsigned status, double seconds)
{
    static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct quoted *quoted = ctx;
    const char *name = route != NULL ? route->path : "none";
    metrics_count(quoted->metrics, GAUGES_HTTP, name, classes[status < 600 ? status / 100 : 0]);
    metric_observe(
        metrics_cell(quoted->metrics, GAUGES_HTTP_SECONDS, (const char *const[]){name, NULL}),
        seconds);
}

int api_start(struct quoted *quoted, struct err *err)
{
    const struct settings_http *http = &quoted->settings->http;
    struct http_server_options options = {
        .address = http->address,
        .threads = (unsigned)http->threads,
        .routes = routes,
        .route_count = ARRAY_LEN(routes),
        .ctx = quoted,
        .trusted_proxies = &http->trusted_proxies,
        .store = quoted->store,
        .observe = observe,
    };
    return http_server_start(&options, &quoted->http, err);
}
