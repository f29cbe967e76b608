/* The slot word and the identifiers made of a quote. The contract computes the same in Solidity:
 * contracts/test-vectors/quote.json holds both to one truth. */
#include "libcommon/proto/quote.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"

#include <assert.h>
#include <string.h>

struct word quote_terms_pack(const struct quote_terms *terms)
{
    assert(terms->valid_minutes < 1u << 24);
    struct word word = {{0}};
    word_set_bits(&word, 0, 32, terms->start);
    word_set_bits(&word, 32, 32, terms->expiry);
    word_set_bits(&word, 64, 64, terms->paid);
    word_set_bits(&word, 128, 16, terms->plan);
    word_set_bits(&word, 144, 16, terms->rate);
    word_set_bits(&word, 160, 16, terms->bandwidth);
    word_set_bits(&word, 176, 32, terms->quota);
    word_set_bits(&word, 208, 16, terms->seq);
    word_set_bits(&word, 224, 8, terms->token);
    word_set_bits(&word, 232, 24, terms->valid_minutes);
    return word;
}

void quote_terms_unpack(const struct word *word, struct quote_terms *out)
{
    *out = (struct quote_terms){
        .start = (uint32_t)word_bits(word, 0, 32),
        .expiry = (uint32_t)word_bits(word, 32, 32),
        .paid = word_bits(word, 64, 64),
        .plan = (uint16_t)word_bits(word, 128, 16),
        .rate = (uint16_t)word_bits(word, 144, 16),
        .bandwidth = (uint16_t)word_bits(word, 160, 16),
        .quota = (uint32_t)word_bits(word, 176, 32),
        .seq = (uint16_t)word_bits(word, 208, 16),
        .token = (uint8_t)word_bits(word, 224, 8),
        .valid_minutes = (uint32_t)word_bits(word, 232, 24),
    };
}

int64_t quote_valid_until(const struct quote_terms *terms)
{
    return QUOTE_EPOCH + 60 * (int64_t)terms->valid_minutes + 59;
}

struct word quote_digest(const struct quote_domain *domain, const struct quote *quote)
{
    struct eip712_domain full = {"Octroi", "1", domain->chain_id, {0}};
    memcpy(full.contract, domain->contract, 20);
    const struct word words[] = {
        word_from_address(quote->subscriber),
        quote->service_id,
        word_from_address(quote->token),
        quote->terms,
    };
    struct word separator = eip712_separator(&full);
    struct word hash = eip712_struct_hash(QUOTE_TYPE, words, ARRAY_LEN(words));
    return eip712_digest(&separator, &hash);
}

struct word quote_service_id(const char *service)
{
    return abi_topic(service);
}

void quote_subscription_id(const struct quote_domain *domain, const uint8_t subscriber[20],
                           const struct word *service_id, char out[QUOTE_SUBSCRIPTION_ID])
{
    const struct word words[] = {
        word_from_u64(domain->chain_id),
        word_from_address(domain->contract),
        word_from_address(subscriber),
        *service_id,
    };
    uint8_t hash[32];
    keccak256(words, sizeof(words), hash);
    memcpy(out, "sub_", 4);
    hex_encode_bare(hash, 16, out + 4);
}

uint64_t quote_unused(const struct quote_terms *slot, uint32_t t)
{
    if (t <= slot->start)
        return slot->paid;
    if (t >= slot->expiry)
        return 0;
    unsigned __int128 product = (unsigned __int128)slot->paid * (slot->expiry - t);
    return (uint64_t)(product / (slot->expiry - slot->start));
}
