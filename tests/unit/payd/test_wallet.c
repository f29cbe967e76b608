/* What the wallet reads of a node's words: revert data against our errors, quantities of wei. */
#include "services/payd/wallet_job.h"
#include "services/payd/wallet_node.h"
#include "services/payd/wallet_revert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define W0  "0000000000000000000000000000000000000000000000000000000000000000"
#define W1  "0000000000000000000000000000000000000000000000000000000000000001"
#define W7  "0000000000000000000000000000000000000000000000000000000000000007"
#define W20 "0000000000000000000000000000000000000000000000000000000000000020"

static void reverts(void **state)
{
    /* Selectors by `cast sig`. */
    static const struct {
        long long code;
        const char *message, *data;
        bool reverted, already;
        const char *why;
    } cases[] = {
        {3, "execution reverted", "0x44db7111" W7 W1, true, false, "BadRefund 7, 1"},
        {3, "execution reverted", "0xd0d04f60", true, false, "NothingToWithdraw"},
        {3, "execution reverted", "0xe2517d3f" W7 W1, true, false,
         "AccessControlUnauthorizedAccount 7, 1"},
        {3, "execution reverted: no",
         "0x08c379a0" W20 "0000000000000000000000000000000000000000000"
         "000000000000000000003"
         "6e6f0a"
         "0000000000000000000000000000"
         "000000000000000000000000000000",
         true, false, "no?"},
        {3, "execution reverted", "0x08c379a0" W20, true, false,
         "execution reverted 0x08c379a0" W20},
        {3, "execution reverted", "0x12345678", true, false, "execution reverted 0x12345678"},
        {3, "", "", true, false, "no reason given"},
        {-32000, "execution reverted", "", true, false, "execution reverted"},
        {-32000, "insufficient funds\n", "", false, false, "insufficient funds?"},
        {-32000, "header not found", "nonsense", false, false, "header not found"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wallet_revert out;
        wallet_revert_read(cases[i].code, cases[i].message, cases[i].data, &out);
        assert_int_equal(out.reverted, cases[i].reverted);
        assert_int_equal(out.already, cases[i].already);
        if (strncmp(out.why, cases[i].why, 90) != 0)
            fail_msg("case %zu: %s", i, out.why);
    }
}

/* What is so already is no failure. */
static void already(void **state)
{
    static const char *const signatures[] = {"AlreadyRefunded(bytes32)", "RevocationUnchanged()"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(signatures); i++) {
        struct wallet_revert out;
        uint8_t selector[4];
        char data[100];
        abi_selector(signatures[i], selector);
        snprintf(data, sizeof(data), "0x%02x%02x%02x%02x" W0, selector[0], selector[1], selector[2],
                 selector[3]);
        wallet_revert_read(3, "execution reverted", data, &out);
        assert_true(out.reverted && out.already);
    }
}

/* What a refund waits for and what ends it; a token's own words are the token's, for a while. */
static void what_is_final(void **state)
{
    static const struct {
        const char *signature;
        bool final;
    } cases[] = {
        {"WrongSeq(uint256)", true},
        {"NothingToRefund()", true},
        {"RefundWindowOver(uint256)", true},
        {"WrongTokenIndex(uint8)", true},
        {"UnknownToken(address)", true},
        {"NotCovered(uint256)", false},
        {"BadRefund(uint256,uint256)", false},
        {"IsPaused()", false},
        {"EnforcedPause()", false},
        {"AccessControlUnauthorizedAccount(address,bytes32)", false},
        {"SafeERC20FailedOperation(address)", false},
        {"AlreadyRefunded(bytes32)", false},
    };

    struct wallet_revert out;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t selector[4];
        char data[160];
        abi_selector(cases[i].signature, selector);
        snprintf(data, sizeof(data), "0x%02x%02x%02x%02x" W0 W0, selector[0], selector[1],
                 selector[2], selector[3]);
        wallet_revert_read(3, "execution reverted", data, &out);
        if (out.final != cases[i].final)
            fail_msg("%s", cases[i].signature);
    }
    wallet_revert_read(3, "execution reverted", "", &out);
    assert_true(out.reverted && !out.final);
}

static void gwei(void **state)
{
    static const struct {
        const char *wei;
        int64_t gwei;
    } cases[] = {
        {"0x0", 0},
        {"0x3b9ac9ff", 0},
        {"0x3b9aca00", 1},
        {"0xde0b6b3a7640000", 1000000000},
        {"0x56bc75e2d63100000", 100000000000},
        {"0x1dcd64ffffffffff88ca6c00", INT64_MAX - 1},
        {"0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", FEES_MOST},
    };

    int64_t out;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(wallet_node_gwei(cases[i].wei, &out), 0);
        assert_int_equal(out, cases[i].gwei);
    }
    assert_int_equal(wallet_node_gwei("12", &out), -1);
}

static void names(void **state)
{
    (void)state;
    for (int i = 0; i < WALLET_JOB_KINDS; i++) {
        enum wallet_job_kind kind;
        assert_int_equal(
            wallet_job_kind_parse(wallet_job_kind_name((enum wallet_job_kind)i), &kind), 0);
        assert_int_equal(kind, i);
    }
    for (int i = 0; i < WALLET_JOB_STATES; i++) {
        enum wallet_job_state job;
        assert_int_equal(
            wallet_job_state_parse(wallet_job_state_name((enum wallet_job_state)i), &job), 0);
        assert_int_equal(job, i);
    }
    enum wallet_job_kind kind;
    assert_int_equal(wallet_job_kind_parse("theft", &kind), -1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reverts), cmocka_unit_test(already), cmocka_unit_test(what_is_final),
        cmocka_unit_test(gwei),    cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
