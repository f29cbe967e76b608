/* The answer of GET /pricing, made once for each book. Its hash is the price book's version: what
 * does not change the answer does not change a price. */
#include "services/quoted/pricebook_json.h"

#include "libcommon/eth/hex.h"
#include "libcommon/json.h"
#include "libcommon/money.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static void set(json_t *object, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(object, key, value) != 0)
        abort();
}

static void append(json_t *array, json_t *value)
{
    if (value == NULL || json_array_append_new(array, value) != 0)
        abort();
}

static json_t *amount_json(uint64_t amount)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, amount);
    return json_string(text);
}

static json_t *tokens_json(const struct pricebook *book)
{
    json_t *list = json_array();
    for (size_t i = 0; i < book->token_count; i++) {
        const struct pricebook_token *token = &book->tokens[i];
        char address[43];
        hex_address_format(token->address, address);
        append(list, json_pack("{s:s, s:s, s:i, s:i}", "symbol", token->symbol, "address", address,
                               "decimals", (int)token->decimals, "index", (int)token->index));
    }
    return list;
}

static json_t *protocols_json(const struct pricebook_service *service)
{
    json_t *list = json_array();
    for (size_t i = 0; i < PRICEBOOK_PROTOCOLS; i++)
        if (service->protocols[i])
            append(list, json_string(pricebook_protocols[i]));
    return list;
}

json_t *pricebook_services_json(const struct pricebook *book)
{
    json_t *list = json_array();
    for (size_t i = 0; i < book->service_count; i++) {
        char id[67];
        word_hex(&book->services[i].id, id);
        append(list, json_pack("{s:s, s:s, s:o}", "name", book->services[i].name, "id", id,
                               "protocols", protocols_json(&book->services[i])));
    }
    return list;
}

static json_t *durations_json(const struct pricebook *book)
{
    json_t *list = json_array();
    for (size_t i = 0; i < book->duration_count; i++)
        append(list, json_pack("{s:I, s:I}", "days", (json_int_t)book->durations[i].days,
                               "discount_percent", (json_int_t)book->durations[i].discount));
    return list;
}

static json_t *limits_json(const struct pricebook_limits *limits)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rate", (json_int_t)limits->rate,
                     "burst", (json_int_t)limits->burst, "requests", (json_int_t)limits->requests,
                     "requests_per_day", (json_int_t)limits->requests_per_day, "bytes",
                     (json_int_t)limits->bytes, "messages", (json_int_t)limits->messages, "cost",
                     (json_int_t)limits->cost, "bandwidth", (json_int_t)limits->bandwidth);
}

static json_t *price_json(const struct pricebook *book, const struct pricebook_tier *tier,
                          size_t service, size_t token)
{
    uint64_t unit = pricebook_unit(book, (size_t)(tier - book->tiers), service, token);
    char decimal[40];
    json_t *amounts = json_array();
    money_format(unit, book->tokens[token].decimals, decimal);
    for (size_t i = 0; i < book->duration_count; i++) {
        uint64_t amount = pricebook_amount(book, tier, &book->services[service],
                                           &book->tokens[token], &book->durations[i]);
        append(amounts, json_pack("{s:I, s:o}", "days", (json_int_t)book->durations[i].days,
                                  "amount", amount_json(amount)));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o}", "service", book->services[service].name, "token",
                     book->tokens[token].symbol, "price", decimal, "amount", amount_json(unit),
                     "durations", amounts);
}

static json_t *prices_json(const struct pricebook *book, const struct pricebook_tier *tier)
{
    json_t *list = json_array();
    for (size_t i = 0; i < book->service_count; i++)
        for (size_t j = 0; j < book->token_count; j++)
            if (pricebook_unit(book, (size_t)(tier - book->tiers), i, j) != 0)
                append(list, price_json(book, tier, i, j));
    return list;
}

static json_t *tiers_json(const struct pricebook *book)
{
    json_t *list = json_array();
    for (size_t i = 0; i < book->tier_count; i++) {
        const struct pricebook_tier *tier = &book->tiers[i];
        append(list, json_pack("{s:s, s:I, s:o, s:o}", "name", tier->name, "period_seconds",
                               (json_int_t)tier->period_s, "limits", limits_json(&tier->limits),
                               "prices", prices_json(book, tier)));
    }
    return list;
}

static void hash_hex(const char *text, char out[65])
{
    unsigned char hash[32];
    if (EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) != 1)
        abort();
    hex_encode_bare(hash, sizeof(hash), out);
}

void pricebook_json(struct pricebook *book, const struct quote_domain *domain)
{
    AUTO_JSON json_t *root = json_object();
    char contract[43];
    hex_address_format(domain->contract, contract);
    set(root, "chain_id", json_integer((json_int_t)domain->chain_id));
    set(root, "contract", json_string(contract));
    set(root, "tokens", tokens_json(book));
    set(root, "services", pricebook_services_json(book));
    set(root, "durations", durations_json(book));
    set(root, "tiers", tiers_json(book));
    AUTO_FREE char *text = json_text(root);
    hash_hex(text, book->version);
    set(root, "version", json_string(book->version));
    book->pricing = json_text(root);
    book->pricing_len = strlen(book->pricing);
}
