/* payd's side of the signer against the real process: what it signs, how it fails, dies, hangs,
 * lies and comes back. The clock moves by hand alone. */
#include "../common/vectors.h"

#include "libcommon/clock.h"
#include "libcommon/eth/sign.h"
#include "services/payd/signer/frame.h"
#include "services/payd/signer_spawn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM BINARY_DIR "/bin/payd-signer"
#define WORDS   "test test test test test test test test test test test junk"
#define FIRST   "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"

static char directory[] = "/tmp/octroi-signer-XXXXXX";
static int64_t moved_ms = 1000;

static int64_t mono_ns(void *ctx)
{
    (void)ctx;
    return moved_ms * 1000000;
}

static const struct clock movable = {.mono_ns = mono_ns};

/* The path of a file of that content, kept until the next call for the same name. */
static const char *file_with(const char *name, const char *text, mode_t mode)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % ARRAY_LEN(paths)];
    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

struct health {
    unsigned up, down;
    char detail[512];
};

static void on_health(void *ctx, bool ok, const char *detail)
{
    struct health *health = ctx;
    *(ok ? &health->up : &health->down) += 1;
    snprintf(health->detail, sizeof(health->detail), "%s", detail);
}

static struct signer_options options_for(const char *mnemonic_file, struct health *health)
{
    return (struct signer_options){.program = PROGRAM,
                                   .mnemonic_file = mnemonic_file,
                                   .path = "m/44'/60'/0'/0/0",
                                   .chain_id = 4441,
                                   .contract = {0xc0, [19] = 1},
                                   .max_fee = 200,
                                   .max_priority_fee = 20,
                                   .max_gas = 500000,
                                   .budget = 1000000,
                                   .clock = &movable,
                                   .on_health = health == NULL ? NULL : on_health,
                                   .ctx = health};
}

static struct signer *started(const struct signer_options *options)
{
    struct err err = {{0}};
    struct signer *signer = NULL;
    if (signer_start(options, &signer, &err) != 0)
        fail_msg("%s", err.msg);
    return signer;
}

static struct eth_tx withdrawal(struct buf *data)
{
    struct word token = word_from_u64(7);
    abi_call(data, "withdraw(address)", &token, 1);
    return (struct eth_tx){.chain_id = 4441,
                           .nonce = 3,
                           .priority_fee = 1,
                           .max_fee = 100,
                           .gas = 100000,
                           .to = {0xc0, [19] = 1},
                           .data = (const uint8_t *)data->data,
                           .data_len = data->len};
}

static void assert_signs(struct signer *signer)
{
    struct err err = {{0}};
    AUTO_BUF struct buf data = {0};
    struct eth_tx tx = withdrawal(&data);
    struct signer_result result;
    if (signer_sign(signer, &tx, &result, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(result.verdict, SIGNER_SIGNED);
    assert_int_equal(result.raw.data[0], 2);
    assert_memory_equal(result.hash.b, tx_hash(&result.raw).b, 32);
    signer_result_clear(&result);
}

static void assert_away(struct signer *signer, const char *says)
{
    struct err err = {{0}};
    AUTO_BUF struct buf data = {0};
    struct eth_tx tx = withdrawal(&data);
    struct signer_result result;
    assert_int_equal(signer_sign(signer, &tx, &result, &err), -1);
    assert_int_equal(result.verdict, SIGNER_AWAY);
    assert_contains(err.msg, says);
    signer_result_clear(&result);
}

/* The one child of this process. */
static pid_t child(void)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    return (pid_t)strtol(text, NULL, 10);
}

/* Until the process is there again; the clock stands, so that no pause ends by itself. */
static void assert_comes_back(struct signer *signer)
{
    for (unsigned turn = 0; !signer_tick(signer); turn++) {
        assert_true(turn < 60000);
        poll(NULL, 0, 1);
    }
}

static void signs_and_refuses(void **state)
{
    (void)state;
    struct health health = {0};
    struct signer_options options = options_for(file_with("words", WORDS "\n", 0600), &health);
    struct signer *signer = started(&options);
    struct err err = {{0}};
    uint8_t address[20];
    char text[43];
    AUTO_BUF struct buf data = {0};
    struct eth_tx tx = withdrawal(&data);
    struct signer_result result;
    signer_address(signer, address);
    hex_encode(address, 20, text);
    assert_string_equal(text, FIRST);
    assert_signs(signer);
    pid_t pid = child();
    tx.value = word_from_u64(1);
    assert_int_equal(signer_sign(signer, &tx, &result, &err), -1);
    assert_int_equal(result.verdict, SIGNER_REFUSED);
    assert_contains(err.msg, "ether");
    tx.value = word_from_u64(0);
    uint8_t large[POLICY_DATA_MAX + 1] = {0};
    tx.data = large;
    tx.data_len = sizeof(large);
    assert_int_equal(signer_sign(signer, &tx, &result, &err), -1);
    assert_int_equal(result.verdict, SIGNER_REFUSED);
    assert_signs(signer);
    assert_int_equal(child(), pid);
    assert_int_equal(health.up, 1);
    assert_int_equal(health.down, 0);
    signer_stop(&signer);
    assert_null(signer);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* 1 gwei each: whatever costs less is rounded up. */
static void signs_within_the_hours_budget(void **state)
{
    (void)state;
    struct signer_options options = options_for(file_with("words", WORDS, 0600), NULL);
    options.budget = 2;
    struct signer *signer = started(&options);
    pid_t pid = child();
    AUTO_BUF struct buf data = {0};
    struct eth_tx tx = withdrawal(&data);

    static const struct {
        uint64_t nonce, fee;
        enum signer_verdict verdict;
    } cases[] = {
        {3, 100, SIGNER_SIGNED}, {3, 110, SIGNER_SIGNED}, {4, 100, SIGNER_SIGNED},
        {5, 100, SIGNER_SPENT},  {4, 200, SIGNER_SIGNED}, {5, 201, SIGNER_REFUSED},
        {6, 1, SIGNER_SPENT},    {3, 150, SIGNER_SIGNED},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {{0}};
        struct signer_result result;
        tx.nonce = cases[i].nonce;
        tx.max_fee = cases[i].fee;
        int rc = signer_sign(signer, &tx, &result, &err);
        assert_int_equal(result.verdict, cases[i].verdict);
        assert_int_equal(rc, cases[i].verdict == SIGNER_SIGNED ? 0 : -1);
        if (cases[i].verdict == SIGNER_SPENT)
            assert_contains(err.msg, "the budget of 2 gwei an hour is spent");
        signer_result_clear(&result);
    }
    assert_int_equal(child(), pid);
    signer_stop(&signer);
}

static void does_not_start(void **state)
{
    (void)state;
    const char *words = file_with("good", WORDS, 0600);
    const char *wrong = file_with("wrong", "test test", 0600);
    static char nowhere[] = "/nowhere/at/all";

    const struct {
        const char *keystore, *mnemonic, *password, *path, *program, *says;
    } cases[] = {
        {NULL, NULL, NULL, "m", PROGRAM, "exactly one"},
        {words, words, NULL, "m", PROGRAM, "exactly one"},
        {words, NULL, NULL, "m", PROGRAM, "password_file"},
        {words, NULL, words, "m", PROGRAM, "keystore"},
        {NULL, words, NULL, "", PROGRAM, "path"},
        {NULL, words, NULL, "m/x", PROGRAM, "path"},
        {NULL, wrong, NULL, "m", PROGRAM, "12, 15"},
        {NULL, nowhere, NULL, "m", PROGRAM, "No such file"},
        {NULL, words, nowhere, "m", PROGRAM, "No such file"},
        {NULL, WORDS, NULL, "m", PROGRAM, "not shown"}, /* in place of its file */
        {NULL, words, WORDS, "m", PROGRAM, "not shown"},
        {NULL, "/dev/zero", NULL, "m", PROGRAM, "regular"},
        {NULL, "/", NULL, "m", PROGRAM, "regular"},
        {NULL, words, NULL, "m", nowhere, nowhere},
        {NULL, words, NULL, "m", "/bin/false", "ended"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {{0}};
        struct signer *signer = NULL;
        struct signer_options options = options_for(cases[i].mnemonic, NULL);
        options.keystore = cases[i].keystore;
        options.password_file = cases[i].password;
        options.path = cases[i].path;
        options.program = cases[i].program;
        assert_int_equal(signer_start(&options, &signer, &err), -1);
        assert_null(signer);
        assert_contains(err.msg, cases[i].says);
        assert_null(strstr(err.msg, "test test"));
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void does_not_start_without_a_policy(void **state)
{
    (void)state;
    struct err err = {{0}};
    struct signer *signer = NULL;
    struct signer_options options = options_for(file_with("words", WORDS, 0600), NULL);
    options.chain_id = 0;
    assert_int_equal(signer_start(&options, &signer, &err), -1);
    assert_contains(err.msg, "chain-id");
    options.chain_id = 1;
    memset(options.contract, 0, 20);
    assert_int_equal(signer_start(&options, &signer, &err), -1);
    assert_contains(err.msg, "contract");
    options.contract[19] = 1;
    options.budget = 0;
    assert_int_equal(signer_start(&options, &signer, &err), -1);
    assert_contains(err.msg, "budget");
}

static void comes_back_after_its_death(void **state)
{
    (void)state;
    struct health health = {0};
    struct signer_options options = options_for(file_with("words", WORDS, 0600), &health);
    struct signer *signer = started(&options);
    for (unsigned death = 1; death <= 3; death++) {
        pid_t pid = child();
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (signer_tick(signer))
            poll(NULL, 0, 1);
        assert_int_equal(health.down, death);
        assert_contains(health.detail, "ended (signal 9)");
        assert_away(signer, "away");
        moved_ms += 60000;
        assert_comes_back(signer);
        assert_int_not_equal(child(), pid);
        assert_signs(signer);
    }
    assert_int_equal(health.up, 4);
    signer_stop(&signer);
}

/* A pause follows each death, and it grows: no storm of processes. */
static void waits_longer_each_time(void **state)
{
    (void)state;
    struct health health = {0};
    struct signer_options options = options_for(file_with("words", WORDS, 0600), &health);
    struct signer *signer = started(&options);
    static const int64_t pauses[] = {250, 500, 1000, 2000};
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
        kill(child(), SIGKILL);
        while (signer_tick(signer))
            poll(NULL, 0, 1);
        moved_ms += pauses[i] - 1;
        assert_false(signer_tick(signer));
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* there is none */
        moved_ms += 1;
        assert_false(signer_tick(signer));
        assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* it has begun */
        assert_comes_back(signer);
    }
    signer_stop(&signer);
}

static void gives_up_on_one_that_hangs(void **state)
{
    (void)state;
    struct health health = {0};
    struct signer_options options = options_for(file_with("words", WORDS, 0600), &health);
    options.sign_ms = 100;
    struct signer *signer = started(&options);
    kill(child(), SIGSTOP);
    assert_away(signer, "did not answer within 100 ms");
    assert_int_equal(health.down, 1);
    moved_ms += 60000;
    options.sign_ms = 5000;
    assert_comes_back(signer);
    signer_stop(&signer);
}

static void takes_no_other_key(void **state)
{
    (void)state;
    struct health health = {0};
    struct signer_options options = options_for(file_with("words", WORDS, 0600), &health);
    struct signer *signer = started(&options);
    file_with("words",
              "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon "
              "abandon about",
              0600);
    kill(child(), SIGKILL);
    while (signer_tick(signer))
        poll(NULL, 0, 1);
    moved_ms += 60000;
    for (unsigned turn = 0; health.down < 2; turn++) {
        assert_false(signer_tick(signer));
        assert_true(turn < 60000);
        poll(NULL, 0, 1);
    }
    assert_contains(health.detail, "another key");
    signer_stop(&signer);
}

/* Scripts that speak over their standard input as the real one does. */
static void trusts_no_process(void **state)
{
    (void)state;

    static const struct {
        const char *script, *says;
    } cases[] = {
        {"printf x >&0", "malformed"},
        {"head -c 252 /dev/zero >&0", "malformed"},
        {"head -c 9999 /dev/zero 2>&1 >&0 | cat >/dev/null", "malformed"},
        {"printf 'OSr1\\0\\0\\0\\0\\0\\0\\0\\2' >\"$0.out\"; head -c 240 /dev/zero >>\"$0.out\"; "
         "cat \"$0.out\" >&0",
         "answer to nothing"},
        {"exit 3", "ended"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {{0}};
        struct signer *signer = NULL;
        AUTO_FREE char *script = mem_printf("#!/bin/sh\n%s\n", cases[i].script);
        struct signer_options options = options_for("/any", NULL);
        options.program = file_with("fake", script, 0700);
        assert_int_equal(signer_start(&options, &signer, &err), -1);
        assert_contains(err.msg, cases[i].says);
    }
}

/* Begins well, and answers the first request with the packet that a shell command writes. */
static const char liar[] = "#!/bin/sh\n"
                           "zeros() { head -c $1 /dev/zero; }\n"
                           "{ printf 'OSr1\\0\\0\\0\\0\\0\\0\\0\\0'; zeros 240; } >\"$0.out\"\n"
                           "cat \"$0.out\" >&0\n"
                           "head -c 1 <&0 >/dev/null\n"
                           "{ %s; } >\"$0.out\"\n"
                           "cat \"$0.out\" >&0\n"
                           "head -c 1 <&0 >/dev/null\n";

static void trusts_no_signature(void **state)
{
    (void)state;

    static const struct {
        const char *packet, *says;
    } cases[] = {
        {"printf 'OSr1\\0\\0\\0\\1\\0\\0\\0\\2'; zeros 240", "not its own"},
        /* r = 1, s = 1, v = 27: a good signature, of somebody. */
        {"printf 'OSr1\\0\\0\\0\\1\\0\\0\\0\\2'; zeros 31; printf '\\1'; zeros 31; "
         "printf '\\1\\33'; zeros 175",
         "not its own"},
        {"printf 'OSr1\\0\\0\\0\\2\\0\\0\\0\\2'; zeros 240", "something else"},
        {"printf 'OSr1\\0\\0\\0\\1\\0\\0\\0\\0'; zeros 240", "something else"},
        {"printf 'OSr1\\0\\0\\0\\1\\0\\0\\0\\1'; zeros 240", "something else"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF struct buf script = {0};
        const char *hole = strstr(liar, "%s");
        buf_add(&script, liar, (size_t)(hole - liar));
        buf_puts(&script, cases[i].packet);
        buf_puts(&script, hole + 2);
        struct signer_options options = options_for("/any", NULL);
        options.program = file_with("fake", script.data, 0700);
        struct signer *signer = started(&options);
        assert_away(signer, cases[i].says);
        signer_stop(&signer);
    }
}

static void ends_at_a_malformed_request(void **state)
{
    (void)state;
    static const size_t lengths[] = {
        1, 4, FRAME_REQUEST - 1, FRAME_REQUEST, FRAME_REQUEST + 1, 2 * FRAME_REQUEST};
    struct signer_options options = options_for(file_with("words", WORDS, 0600), NULL);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct err err = {{0}};
        pid_t pid;
        int fd, status;
        uint8_t packet[2 * FRAME_REQUEST] = {0}, reply[FRAME_REPLY];
        assert_int_equal(signer_spawn(&options, &pid, &fd, &err), 0);
        assert_int_equal(recv(fd, reply, sizeof(reply), 0), FRAME_REPLY);
        assert_int_equal(send(fd, packet, lengths[i], MSG_NOSIGNAL), (ssize_t)lengths[i]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        close(fd);
    }
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"words", "good", "wrong", "fake", "fake.out"};
    char path[256];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        unlink(path);
    }
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_and_refuses),
        cmocka_unit_test(signs_within_the_hours_budget),
        cmocka_unit_test(does_not_start),
        cmocka_unit_test(does_not_start_without_a_policy),
        cmocka_unit_test(comes_back_after_its_death),
        cmocka_unit_test(waits_longer_each_time),
        cmocka_unit_test(gives_up_on_one_that_hangs),
        cmocka_unit_test(takes_no_other_key),
        cmocka_unit_test(trusts_no_process),
        cmocka_unit_test(trusts_no_signature),
        cmocka_unit_test(ends_at_a_malformed_request),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
