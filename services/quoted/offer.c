/* Puts a quote into words: terms, digest, signature, typed data, transactions. Members come in a
 * fixed order and nothing depends on when the answer was made, only on the bucket of its time. */
#include "services/quoted/offer.h"

#include "libcommon/clock.h"
#include "libcommon/eth/hex.h"
#include "libcommon/json.h"
#include "libcommon/money.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint32_t saturate32(int64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static struct terms_wish terms_wish_of(const struct offer_wish *wish)
{
    const struct pricebook_tier *tier = wish->tier;
    return (struct terms_wish){
        .bucket = wish->bucket,
        .ttl = wish->ttl,
        .duration_s = (uint32_t)(wish->duration->days * 86400),
        .price = pricebook_amount(wish->book, tier, wish->service, wish->token, wish->duration),
        .plan = tier->plan,
        .rate = (uint16_t)tier->limits.rate,
        .bandwidth = (uint16_t)tier->limits.bandwidth,
        .quota = saturate32(tier->limits.requests),
        .token = wish->token->index,
    };
}

static void explain_more(const struct offer_wish *wish, const struct terms_offer *offer,
                         uint64_t price, struct err *why)
{
    char held[40], asked[40];
    money_format(offer->held, wish->token->decimals, held);
    money_format(price, wish->token->decimals, asked);
    err_set(why,
            "the running subscription still holds %s %s, which is more than the price of %s: what "
            "is held is not paid out; choose a longer duration, or wait until it has run down",
            held, wish->token->symbol, asked);
}

enum terms_refusal offer_terms(const struct offer_wish *wish, const struct quote_terms *slot,
                               struct terms_offer *out, struct err *why)
{
    struct terms_wish asked = terms_wish_of(wish);
    enum terms_refusal refusal = terms_offer(&asked, slot, out);
    switch (refusal) {
    case TERMS_OK:
        break;
    case TERMS_OTHER_TOKEN:
        err_set(why,
                "the running subscription was paid in another token (index %u): ask for the "
                "quote in that token, or wait until the subscription has ended",
                (unsigned)slot->token);
        break;
    case TERMS_HOLDS_MORE:
        explain_more(wish, out, asked.price, why);
        break;
    case TERMS_TOO_LONG:
        err_set(why, "the subscription would end more than 20 years from now");
        break;
    case TERMS_TOO_MUCH:
        err_set(why, "the subscription would hold more than the contract can count");
        break;
    case TERMS_NO_SEQ:
        err_set(why, "this subscriber's slot for the service has been paid 65535 times, which is "
                     "all that it can count");
        break;
    }
    return refusal;
}

static json_t *hex_json(const void *data, size_t len)
{
    AUTO_FREE char *text = mem_alloc(2 * len + 3);
    hex_encode(data, len, text);
    return json_string(text);
}

static json_t *word_json(const struct word *word)
{
    return hex_json(word->b, sizeof(word->b));
}

static json_t *address_json(const uint8_t address[20])
{
    char text[43];
    hex_address_format(address, text);
    return json_string(text);
}

static json_t *amount_json(uint64_t amount)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, amount);
    return json_string(text);
}

static json_t *time_json(int64_t unix_s)
{
    char text[32];
    clock_rfc3339(unix_s, text);
    return json_string(text);
}

static json_t *domain_json(const struct quote_domain *domain)
{
    return json_pack("{s:s, s:s, s:I, s:o}", "name", "Octroi", "version", "1", "chainId",
                     (json_int_t)domain->chain_id, "verifyingContract",
                     address_json(domain->contract));
}

static json_t *types_json(void)
{
    return json_pack("{s:[{s:s,s:s},{s:s,s:s},{s:s,s:s},{s:s,s:s}],"
                     " s:[{s:s,s:s},{s:s,s:s},{s:s,s:s},{s:s,s:s}]}",
                     "EIP712Domain", "name", "name", "type", "string", "name", "version", "type",
                     "string", "name", "chainId", "type", "uint256", "name", "verifyingContract",
                     "type", "address", "Quote", "name", "subscriber", "type", "address", "name",
                     "serviceId", "type", "bytes32", "name", "token", "type", "address", "name",
                     "terms", "type", "uint256");
}

static json_t *typed_data_json(const struct offer_wish *wish, const struct quote *quote)
{
    char terms[80];
    word_decimal(&quote->terms, terms);
    json_t *message = json_pack(
        "{s:o, s:o, s:o, s:s}", "subscriber", address_json(quote->subscriber), "serviceId",
        word_json(&quote->service_id), "token", address_json(quote->token), "terms", terms);
    return json_pack("{s:o, s:s, s:o, s:o}", "types", types_json(), "primaryType", "Quote",
                     "domain", domain_json(&wish->domain), "message", message);
}

static json_t *terms_json(const struct quote_terms *terms)
{
    return json_pack("{s:I, s:I, s:o, s:i, s:i, s:i, s:I, s:i, s:i, s:I}", "start",
                     (json_int_t)terms->start, "expiry", (json_int_t)terms->expiry, "paid",
                     amount_json(terms->paid), "plan", (int)terms->plan, "rate", (int)terms->rate,
                     "bandwidth", (int)terms->bandwidth, "quota", (json_int_t)terms->quota, "seq",
                     (int)terms->seq, "token", (int)terms->token, "valid_until",
                     (json_int_t)quote_valid_until(terms));
}

static json_t *call_json(const char *description, const uint8_t to[20], const char *signature,
                         const struct word *words, size_t count)
{
    AUTO_BUF struct buf data = {0};
    abi_call(&data, signature, words, count);
    return json_pack("{s:s, s:o, s:o, s:s}", "description", description, "to", address_json(to),
                     "data", hex_json(data.data, data.len), "value", "0");
}

static json_t *transactions_json(const struct offer_wish *wish, const struct quote *quote,
                                 uint64_t due, const uint8_t signature[64])
{
    struct word r, vs;
    char amount[40];
    char description[160];
    json_t *list = json_array();
    memcpy(r.b, signature, 32);
    memcpy(vs.b, signature + 32, 32);
    money_format(due, wish->token->decimals, amount);
    const struct word approve[] = {word_from_address(wish->domain.contract), word_from_u64(due)};
    const struct word pay[] = {quote->service_id, word_from_address(quote->token), quote->terms, r,
                               vs};
    snprintf(description, sizeof(description), "allow the contract to take %s %s", amount,
             wish->token->symbol);
    if (due > 0)
        json_array_append_new(list, call_json(description, quote->token, "approve(address,uint256)",
                                              approve, ARRAY_LEN(approve)));
    snprintf(description, sizeof(description), "pay the quote");
    json_array_append_new(
        list, call_json(description, wish->domain.contract, QUOTE_PAY, pay, ARRAY_LEN(pay)));
    return list;
}

static json_t *token_json(const struct pricebook_token *token)
{
    return json_pack("{s:o, s:s, s:i}", "address", address_json(token->address), "symbol",
                     token->symbol, "decimals", (int)token->decimals);
}

static void set(json_t *object, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(object, key, value) != 0)
        abort();
}

static void set_signed(json_t *body, const struct quote *quote, const uint8_t signature[64])
{
    set(body, "quote",
        json_pack("{s:o, s:o, s:o, s:o}", "subscriber", address_json(quote->subscriber),
                  "serviceId", word_json(&quote->service_id), "token", address_json(quote->token),
                  "terms", word_json(&quote->terms)));
    set(body, "signature", hex_json(signature, 64));
    set(body, "r", hex_json(signature, 32));
    set(body, "vs", hex_json(signature + 32, 32));
}

static void set_order(json_t *body, const struct offer_wish *wish, const struct terms_offer *offer)
{
    char subscription[QUOTE_SUBSCRIPTION_ID];
    quote_subscription_id(&wish->domain, wish->subscriber, &wish->service->id, subscription);
    set(body, "kind", json_string(terms_kind_name(offer->kind)));
    set(body, "service", json_string(wish->service->name));
    set(body, "tier", json_string(wish->tier->name));
    set(body, "duration_days", json_integer((json_int_t)wish->duration->days));
    set(body, "subscription_id", json_string(subscription));
    set(body, "token", token_json(wish->token));
    set(body, "price",
        amount_json(
            pricebook_amount(wish->book, wish->tier, wish->service, wish->token, wish->duration)));
    set(body, "amount_due", amount_json(offer->due));
    set(body, "terms", terms_json(&offer->terms));
}

static json_t *body_json(const struct offer_wish *wish, const struct terms_offer *offer,
                         const struct quote *quote, const char *id, const uint8_t signature[64])
{
    json_t *body = json_object();
    set(body, "id", json_string(id));
    set_order(body, wish, offer);
    set_signed(body, quote, signature);
    set(body, "contract",
        json_pack("{s:o, s:I}", "address", address_json(wish->domain.contract), "chain_id",
                  (json_int_t)wish->domain.chain_id));
    set(body, "typed_data", typed_data_json(wish, quote));
    set(body, "transactions", transactions_json(wish, quote, offer->due, signature));
    set(body, "price_book", json_string(wish->book->version));
    set(body, "issued_at", time_json(wish->bucket));
    set(body, "expires_at", time_json(quote_valid_until(&offer->terms)));
    return body;
}

int offer_make(const struct offer_wish *wish, const struct terms_offer *terms,
               const struct sign_key *key, struct offer *out, struct err *err)
{
    struct quote quote = {.service_id = wish->service->id,
                          .terms = quote_terms_pack(&terms->terms)};
    uint8_t signature[64];
    assert(wish->tier->plan != 0);
    memcpy(quote.subscriber, wish->subscriber, 20);
    memcpy(quote.token, wish->token->address, 20);
    struct word digest = quote_digest(&wish->domain, &quote);
    if (sign_digest_compact(key, &digest, signature, err) != 0)
        return -1;
    word_hex(&digest, out->id);
    out->kind = terms->kind;
    out->expires = quote_valid_until(&terms->terms);
    AUTO_JSON json_t *body = body_json(wish, terms, &quote, out->id, signature);
    out->body = json_text(body);
    return 0;
}
