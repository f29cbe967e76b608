/* What the operator's key signs, and every rule by which it does not. */
#include "../common/vectors.h"

#include "services/payd/signer/policy.h"

static const struct policy policy = {.chain_id = 4441,
                                     .contract = {0xc0, [19] = 0x01},
                                     .max_fee = 200,
                                     .max_priority_fee = 20,
                                     .max_gas = 500000};

static const char *const allowed[] = {
    "refund(address,bytes32,address,uint16,uint256)",
    "refundTransfer(bytes32,address,address,uint256)",
    "setRevoked(address,bytes32,bool)",
    "withdraw(address)",
    "withdrawFees(address)",
};

/* The largest canonical value of each argument. */
static void largest(const char *signature, struct buf *out)
{
    uint8_t selector[4];
    abi_selector(signature, selector);
    buf_add(out, selector, 4);
    const char *type = strchr(signature, '(');
    while (*type != ')') {
        struct word word;
        memset(&word, 0xff, sizeof(word));
        type++;
        if (strncmp(type, "address", 7) == 0)
            memset(word.b, 0, 12);
        else if (strncmp(type, "uint16", 6) == 0)
            memset(word.b, 0, 30);
        else if (strncmp(type, "bool", 4) == 0)
            word = word_from_u64(1);
        buf_add(out, word.b, 32);
        type += strcspn(type, ",)");
    }
}

static struct eth_tx transaction(const struct buf *data)
{
    struct eth_tx tx = {.chain_id = 4441,
                        .nonce = 7,
                        .priority_fee = 20,
                        .max_fee = 200,
                        .gas = 500000,
                        .data = (const uint8_t *)data->data,
                        .data_len = data->len};
    memcpy(tx.to, policy.contract, 20);
    return tx;
}

static void assert_refused(const struct eth_tx *tx, const char *says)
{
    struct err err = {{0}};
    if (policy_check(&policy, tx, &err) == 0)
        fail_msg("was allowed, not refused as \"%s\"", says);
    assert_contains(err.msg, says);
}

static void allows_five_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        AUTO_BUF struct buf data = {0};
        struct err err;
        largest(allowed[i], &data);
        struct eth_tx tx = transaction(&data);
        assert_int_equal(policy_check(&policy, &tx, &err), 0);
        assert_true(data.len <= POLICY_DATA_MAX);
        memset(data.data + 4, 0, data.len - 4);
        tx.gas = 1;
        tx.max_fee = tx.priority_fee = tx.nonce = 0;
        assert_int_equal(policy_check(&policy, &tx, &err), 0);
        tx.nonce = UINT64_MAX - 1;
        assert_int_equal(policy_check(&policy, &tx, &err), 0);
    }
}

/* Each bit of the data that is not an argument's own is a reason to refuse. */
static void refuses_every_bit_of_padding(void **state)
{
    (void)state;
    size_t refused = 0;
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        AUTO_BUF struct buf data = {0};
        largest(allowed[i], &data);
        struct eth_tx tx = transaction(&data);
        for (size_t bit = 0; bit < data.len * 8; bit++) {
            struct err err;
            uint8_t *byte = (uint8_t *)data.data + bit / 8, mask = (uint8_t)(1u << bit % 8);
            bool was = (*byte & mask) != 0;
            *byte ^= mask;
            /* Ones of the largest value may become zeros; in a selector nothing may change. */
            bool ok = was && bit / 8 >= 4;
            assert_int_equal(policy_check(&policy, &tx, &err), ok ? 0 : -1);
            refused += !ok;
            *byte ^= mask;
        }
    }
    /* 5 selectors; 7 addresses (96 bits), one uint16 (240), one bool (255). */
    assert_int_equal(refused, 5 * 32 + 7 * 96 + 240 + 255);
}

static void refuses_other_lengths(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        AUTO_BUF struct buf data = {0};
        largest(allowed[i], &data);
        buf_add(&data, (const char[33]){0}, 33);
        size_t right = data.len - 33;
        struct eth_tx tx = transaction(&data);
        for (tx.data_len = 0; tx.data_len <= data.len; tx.data_len++) {
            struct err err;
            assert_int_equal(policy_check(&policy, &tx, &err), tx.data_len == right ? 0 : -1);
        }
    }
}

static void refuses_other_calls(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "transfer(address,uint256)",
        "approve(address,uint256)",
        "upgradeToAndCall(address,bytes)",
        "grantRole(bytes32,address)",
        "beginDefaultAdminTransfer(address)",
        "acceptDefaultAdminTransfer()",
        "setPayee(address)",
        "setFee(uint16,address)",
        "rescue(address,address)",
        "setSigner(address,uint64)",
        "setReceiptSigner(address)",
        "pause()",
        "refund(address,bytes32,address,uint16,uint128)",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF struct buf data = {0};
        struct word words[5] = {{{0}}};
        abi_call(&data, cases[i], words, 5);
        struct eth_tx tx = transaction(&data);
        for (tx.data_len = 4; tx.data_len <= data.len; tx.data_len += 32)
            assert_refused(&tx, "is not one that may be signed");
    }
    AUTO_BUF struct buf none = {0};
    struct eth_tx tx = transaction(&none);
    assert_refused(&tx, "no call");
}

static void refuses_other_fields(void **state)
{
    (void)state;
    AUTO_BUF struct buf data = {0};
    largest("withdraw(address)", &data);
    const struct eth_tx good = transaction(&data);
    struct eth_tx tx = good;
    tx.chain_id = 1;
    assert_refused(&tx, "chain 1");
    tx.chain_id = 0;
    assert_refused(&tx, "chain 0");
    for (size_t bit = 0; bit < 160; bit++) {
        tx = good;
        tx.to[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_refused(&tx, "another address");
    }
    for (size_t bit = 0; bit < 256; bit++) {
        tx = good;
        tx.value.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_refused(&tx, "ether");
    }
    tx = good;
    tx.nonce = UINT64_MAX;
    assert_refused(&tx, "nonce");
}

static void refuses_costs_above_the_caps(void **state)
{
    (void)state;
    AUTO_BUF struct buf data = {0};
    largest("withdraw(address)", &data);
    const struct eth_tx good = transaction(&data);
    struct eth_tx tx = good;
    tx.gas = 500001;
    assert_refused(&tx, "gas limit of 500001");
    tx.gas = UINT64_MAX;
    assert_refused(&tx, "gas limit");
    tx.gas = 0;
    assert_refused(&tx, "gas limit");
    tx = good;
    tx.max_fee = 201;
    assert_refused(&tx, "fee of 201");
    tx.max_fee = UINT64_MAX;
    assert_refused(&tx, "fee of 18446744073709551615");
    tx = good;
    tx.priority_fee = 21;
    assert_refused(&tx, "priority fee of 21");
    tx = good;
    tx.max_fee = 19;
    assert_refused(&tx, "above the whole fee");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allows_five_calls),     cmocka_unit_test(refuses_every_bit_of_padding),
        cmocka_unit_test(refuses_other_lengths), cmocka_unit_test(refuses_other_calls),
        cmocka_unit_test(refuses_other_fields),  cmocka_unit_test(refuses_costs_above_the_caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
