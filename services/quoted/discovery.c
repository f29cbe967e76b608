/* GET /.well-known/octroi: where a client that knows the gateway's URL alone begins, and whether it
 * would get a quote at the moment. */
#include "services/quoted/discovery.h"

#include "libcommon/eth/hex.h"
#include "libcommon/json.h"
#include "services/quoted/pricebook_json.h"
#include "services/quoted/quoted.h"

#include <string.h>

static json_t *endpoints_json(const char *base)
{
    static const char *const list[][2] = {
        {"pricing", "/pricing"},
        {"quote", "/quote"},
        {"payment", "/payment"},
        {"receipt", "/receipt"},
        {"challenge", "/token/challenge"},
        {"token", "/token"},
        {"refresh", "/token/refresh"},
        {"subscription", "/subscription"},
        {"usage", "/usage"},
        {"jwks", "/.well-known/jwks.json"},
    };
    json_t *out = json_object();
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        AUTO_FREE char *url = mem_printf("%s%s", base, list[i][1]);
        json_object_set_new(out, list[i][0], json_string(url));
    }
    return out;
}

static json_t *tokens_json(const struct pricebook *book)
{
    json_t *out = json_array();
    for (size_t i = 0; i < book->token_count; i++) {
        const struct pricebook_token *token = &book->tokens[i];
        char address[43];
        hex_address_format(token->address, address);
        json_array_append_new(out, json_pack("{s:s, s:s, s:i, s:i}", "symbol", token->symbol,
                                             "address", address, "decimals", (int)token->decimals,
                                             "index", (int)token->index));
    }
    return out;
}

static json_t *signers_json(struct quoted *quoted, const char **current, char text[43])
{
    json_t *out = json_array();
    pthread_rwlock_rdlock(&quoted->keys_lock);
    const struct keyring_key *key = keyring_find(quoted->keys, quoted->signer);
    memcpy(text, key != NULL ? key->address : quoted->signer, 43);
    for (size_t i = 0; i < quoted->keys->count; i++)
        json_array_append_new(out, json_string(quoted->keys->keys[i].address));
    pthread_rwlock_unlock(&quoted->keys_lock);
    *current = text;
    return out;
}

static json_t *status_json(struct quoted *quoted)
{
    struct selling_view view;
    char since[32];
    selling_read(quoted, &view);
    clock_rfc3339(view.since_s, since);
    return json_pack("{s:b, s:s?, s:s}", "selling", view.state == SELLING, "reason",
                     selling_reason(view.state), "since", since);
}

void discovery_get(struct http_request *request, void *ctx)
{
    struct quoted *quoted = ctx;
    struct pricebook *book = quoted_shown(quoted);
    const char *receipts = quoted->chain.receipt_signer;
    const char *signer;
    char contract[43], text[43];
    hex_address_format(quoted->chain.domain.contract, contract);
    json_t *tokens = tokens_json(book);
    json_t *services = pricebook_services_json(book);
    quoted_give_back(quoted, &book);
    json_t *signers = signers_json(quoted, &signer, text);
    http_reply_json(request, 200,
                    json_pack("{s:I, s:s, s:s, s:o, s:s*, s:{s:s, s:s}, s:o, s:o, s:o, s:o}",
                              "chain_id", (json_int_t)quoted->chain.domain.chain_id, "contract",
                              contract, "quote_signer", signer, "quote_signers", signers,
                              "receipt_signer", receipts[0] == '\0' ? NULL : receipts, "eip712",
                              "name", "Octroi", "version", "1", "tokens", tokens, "services",
                              services, "status", status_json(quoted), "endpoints",
                              endpoints_json(quoted->settings->public_url)));
}
