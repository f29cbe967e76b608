/* The rules as one list of calls and a few comparisons. Arguments are checked for their one
 * canonical form, so that nothing can hide in padding, and what is signed reads the same to
 * everyone who decodes it. */
#include "services/payd/signer/policy.h"

#include <inttypes.h>
#include <string.h>

static const char *const calls[] = {
    "refund(address,bytes32,address,uint16,uint256)",
    "refundTransfer(bytes32,address,address,uint256)",
    "setRevoked(address,bytes32,bool)",
    "withdraw(address)",
    "withdrawFees(address)",
};

/* Leading bytes of a word that must be zero for a type; a bool's last byte is looked at besides. */
static const struct {
    const char *type;
    size_t zeros;
} types[] = {{"address", 12}, {"bytes32", 0}, {"uint256", 0}, {"uint16", 30}, {"bool", 31}};

static bool canonical(const char *type, size_t len, const uint8_t word[32])
{
    size_t i = 0;
    while (strlen(types[i].type) != len || memcmp(types[i].type, type, len) != 0)
        i++;
    for (size_t at = 0; at < types[i].zeros; at++) {
        if (word[at] != 0)
            return false;
    }
    return types[i].zeros < 31 || word[31] <= 1;
}

/* Walks the types between the parentheses along the words. */
static int check_arguments(const char *signature, const uint8_t *data, size_t len, struct err *err)
{
    size_t count = 0;
    const char *type = strchr(signature, '(');
    while (*type != ')') {
        type++;
        size_t n = strcspn(type, ",)");
        if (len < 32 * (count + 1))
            return err_set(err, "the call data of %s is too short", signature);
        if (!canonical(type, n, data + 32 * count))
            return err_set(err, "argument %zu of %s is not in its canonical form", count + 1,
                           signature);
        type += n;
        count++;
    }
    return len == 32 * count ? 0 : err_set(err, "the call data of %s is too long", signature);
}

static int check_call(const uint8_t *data, size_t len, struct err *err)
{
    if (len < 4)
        return err_set(err, "there is no call in the data");
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        uint8_t selector[4];
        abi_selector(calls[i], selector);
        if (memcmp(selector, data, 4) == 0)
            return check_arguments(calls[i], data + 4, len - 4, err);
    }
    return err_set(err, "the call %02x%02x%02x%02x is not one that may be signed", data[0], data[1],
                   data[2], data[3]);
}

static int check_cost(const struct policy *policy, const struct eth_tx *tx, struct err *err)
{
    if (tx->gas == 0 || tx->gas > policy->max_gas)
        return err_set(err, "a gas limit of %" PRIu64 ", where 1 to %" PRIu64 " are allowed",
                       tx->gas, policy->max_gas);
    if (tx->max_fee > policy->max_fee)
        return err_set(err, "a fee of %" PRIu64 " wei a gas, where %" PRIu64 " are allowed",
                       tx->max_fee, policy->max_fee);
    if (tx->priority_fee > policy->max_priority_fee)
        return err_set(err,
                       "a priority fee of %" PRIu64 " wei a gas, where %" PRIu64 " are allowed",
                       tx->priority_fee, policy->max_priority_fee);
    if (tx->priority_fee > tx->max_fee)
        return err_set(err, "a priority fee above the whole fee");
    return 0;
}

int policy_check(const struct policy *policy, const struct eth_tx *tx, struct err *err)
{
    static const struct word nothing = {{0}};
    if (tx->chain_id != policy->chain_id)
        return err_set(err, "for chain %" PRIu64 ", not %" PRIu64, tx->chain_id, policy->chain_id);
    if (memcmp(tx->to, policy->contract, sizeof(tx->to)) != 0)
        return err_set(err, "to another address than the contract's");
    if (memcmp(&tx->value, &nothing, sizeof(nothing)) != 0)
        return err_set(err, "it sends ether along");
    if (tx->nonce == UINT64_MAX)
        return err_set(err, "a nonce that no account reaches (EIP-2681)");
    if (check_cost(policy, tx, err) != 0)
        return -1;
    return check_call(tx->data, tx->data_len, err);
}
