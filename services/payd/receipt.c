/* Builds and signs receipts. Only what the chain itself says is signed: names of tiers and services
 * are another's, and may come later. */
#include "services/payd/receipt.h"

#include "libcommon/eth/hex.h"
#include "libcommon/jwt.h"
#include "libcommon/secret_file.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define KEY_MAX 256

int receipt_key(const char *path, struct sign_key **out, struct err *err)
{
    char text[KEY_MAX];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, "receipts.key_file: %s: %m", secret_file_name(path));
    /* No copy of the key in stdio's buffer, which nobody wipes. */
    setbuf(file, NULL);
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    int rc = sign_key_from_hex(text, out, err);
    mem_wipe(text, sizeof(text));
    return rc == 0 ? 0 : err_wrap(err, "receipts.key_file: %s", secret_file_name(path));
}

struct word receipt_digest(const struct quote_domain *domain, const struct receipt *receipt)
{
    struct eip712_domain eip712 = {.name = "Octroi", .version = "1", .chain_id = domain->chain_id};
    memcpy(eip712.contract, domain->contract, 20);
    const struct word members[] = {
        quote_digest(domain, &receipt->quote),
        word_from_address(receipt->quote.subscriber),
        receipt->quote.service_id,
        word_from_address(receipt->quote.token),
        receipt->quote.terms,
        receipt->amount,
        receipt->tx_hash,
        word_from_u64(receipt->block),
        word_from_u64(receipt->confirmed_at),
    };
    struct word separator = eip712_separator(&eip712);
    struct word hash = eip712_struct_hash(RECEIPT_TYPE, members, ARRAY_LEN(members));
    return eip712_digest(&separator, &hash);
}

static json_t *address_json(const uint8_t address[20])
{
    char text[43];
    hex_address_format(address, text);
    return json_string(text);
}

static json_t *word_json(const struct word *word)
{
    char text[67];
    word_hex(word, text);
    return json_string(text);
}

/* The members of the EIP-712 struct by their names there; whole numbers of 256 bits as hex or
 * decimal text, which typed-data libraries take as they are. */
static json_t *members_json(const struct quote_domain *domain, const struct receipt *receipt)
{
    char amount[80];
    struct word id = quote_digest(domain, &receipt->quote);
    word_decimal(&receipt->amount, amount);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:I, s:I}", "paymentId", word_json(&id),
                     "subscriber", address_json(receipt->quote.subscriber), "serviceId",
                     word_json(&receipt->quote.service_id), "token",
                     address_json(receipt->quote.token), "terms", word_json(&receipt->quote.terms),
                     "amount", amount, "txHash", word_json(&receipt->tx_hash), "blockNumber",
                     (json_int_t)receipt->block, "confirmedAt", (json_int_t)receipt->confirmed_at);
}

/* What the terms say, unpacked. */
static json_t *grant_json(const struct quote_domain *domain, const struct receipt *receipt)
{
    struct quote_terms terms;
    char subscription[QUOTE_SUBSCRIPTION_ID], paid[24];
    quote_terms_unpack(&receipt->quote.terms, &terms);
    quote_subscription_id(domain, receipt->quote.subscriber, &receipt->quote.service_id,
                          subscription);
    snprintf(paid, sizeof(paid), "%llu", (unsigned long long)terms.paid);
    return json_pack("{s:s, s:i, s:i, s:I, s:I, s:s}", "subscription", subscription, "plan",
                     (int)terms.plan, "seq", (int)terms.seq, "start", (json_int_t)terms.start,
                     "expiry", (json_int_t)terms.expiry, "paid", paid);
}

static char *encoded(json_t *owned)
{
    AUTO_JSON json_t *json = owned;
    AUTO_FREE char *text = json_text(json);
    return jwt_b64url(text, strlen(text));
}

static char *jws_header(const struct sign_key *key)
{
    uint8_t point[64], address[20];
    sign_key_public(key, point);
    sign_key_address(key, address);
    AUTO_FREE char *x = jwt_b64url(point, 32);
    AUTO_FREE char *y = jwt_b64url(point + 32, 32);
    return encoded(json_pack("{s:s, s:s, s:o, s:{s:s, s:s, s:s, s:s}}", "alg", "ES256K", "typ",
                             "octroi-receipt+jws", "kid", address_json(address), "jwk", "kty", "EC",
                             "crv", "secp256k1", "x", x, "y", y));
}

static char *jws_payload(const struct quote_domain *domain, const struct receipt *receipt)
{
    char contract[43], id[67];
    struct word digest = quote_digest(domain, &receipt->quote);
    hex_address_format(domain->contract, contract);
    word_hex(&digest, id);
    AUTO_FREE char *issuer =
        mem_printf("eip155:%llu:%s", (unsigned long long)domain->chain_id, contract);
    return encoded(json_pack("{s:s, s:o, s:s, s:I, s:o, s:o}", "iss", issuer, "sub",
                             address_json(receipt->quote.subscriber), "jti", id, "iat",
                             (json_int_t)receipt->confirmed_at, "receipt",
                             members_json(domain, receipt), "grant", grant_json(domain, receipt)));
}

static int jws(const struct quote_domain *domain, const struct receipt *receipt,
               const struct sign_key *key, char **out, struct err *err)
{
    AUTO_FREE char *header = jws_header(key);
    AUTO_FREE char *payload = jws_payload(domain, receipt);
    AUTO_FREE char *signed_part = mem_printf("%s.%s", header, payload);
    struct word hash;
    uint8_t signature[65];
    if (EVP_Digest(signed_part, strlen(signed_part), hash.b, NULL, EVP_sha256(), NULL) != 1)
        abort();
    if (sign_digest(key, &hash, signature, err) != 0)
        return -1;
    AUTO_FREE char *last = jwt_b64url(signature, 64);
    *out = mem_printf("%s.%s", signed_part, last);
    return 0;
}

int receipt_json(const struct quote_domain *domain, const struct receipt *receipt,
                 const struct sign_key *key, json_t **out, struct err *err)
{
    struct word digest = receipt_digest(domain, receipt);
    AUTO_FREE char *token = NULL;
    uint8_t signature[65], signer[20];
    char text[2 * 65 + 3];
    if (sign_digest(key, &digest, signature, err) != 0 ||
        jws(domain, receipt, key, &token, err) != 0)
        return -1;
    hex_encode(signature, sizeof(signature), text);
    sign_key_address(key, signer);
    *out = json_pack("{s:{s:s, s:s, s:I, s:o}, s:o, s:o, s:o, s:s, s:s}", "domain", "name",
                     "Octroi", "version", "1", "chainId", (json_int_t)domain->chain_id,
                     "verifyingContract", address_json(domain->contract), "receipt",
                     members_json(domain, receipt), "grant", grant_json(domain, receipt), "signer",
                     address_json(signer), "signature", text, "jws", token);
    return 0;
}
