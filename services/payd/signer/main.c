/* payd-signer: the process that holds the operator's key. payd starts it with a socket as standard
 * input; it reads the key, locks itself up and answers requests one by one until the socket ends.
 * Anything unexpected ends it: payd starts another. */
#include "services/payd/signer/budget.h"
#include "services/payd/signer/frame.h"
#include "services/payd/signer/jail.h"
#include "services/payd/signer/key.h"

#include "libcommon/clock.h"
#include "libcommon/eth/hex.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct arguments {
    struct key_files files;
    struct policy policy;
    uint64_t budget; /* gwei an hour */
    const char *user;
};

enum argument {
    OPTION_KEYSTORE = 1,
    OPTION_MNEMONIC,
    OPTION_PASSWORD,
    OPTION_PATH,
    OPTION_USER,
    OPTION_CHAIN,
    OPTION_CONTRACT,
    OPTION_MAX_FEE,
    OPTION_MAX_PRIORITY_FEE,
    OPTION_MAX_GAS,
    OPTION_BUDGET
};

static const struct option options[] = {
    {"keystore", required_argument, NULL, OPTION_KEYSTORE},
    {"mnemonic-file", required_argument, NULL, OPTION_MNEMONIC},
    {"password-file", required_argument, NULL, OPTION_PASSWORD},
    {"path", required_argument, NULL, OPTION_PATH},
    {"user", required_argument, NULL, OPTION_USER},
    {"chain-id", required_argument, NULL, OPTION_CHAIN},
    {"contract", required_argument, NULL, OPTION_CONTRACT},
    {"max-fee", required_argument, NULL, OPTION_MAX_FEE},
    {"max-priority-fee", required_argument, NULL, OPTION_MAX_PRIORITY_FEE},
    {"max-gas", required_argument, NULL, OPTION_MAX_GAS},
    {"budget", required_argument, NULL, OPTION_BUDGET},
    {NULL, 0, NULL, 0},
};

static int number(const char *text, uint64_t *out)
{
    struct word word;
    return word_from_decimal(text, &word) == 0 ? word_to_u64(&word, out) : -1;
}

static int take(enum argument which, const char *value, struct arguments *out)
{
    switch (which) {
    case OPTION_KEYSTORE:
        out->files.keystore = value;
        return 0;
    case OPTION_MNEMONIC:
        out->files.mnemonic_file = value;
        return 0;
    case OPTION_PASSWORD:
        out->files.password_file = value;
        return 0;
    case OPTION_PATH:
        out->files.path = value;
        return 0;
    case OPTION_USER:
        out->user = value;
        return 0;
    case OPTION_CHAIN:
        return number(value, &out->policy.chain_id);
    case OPTION_CONTRACT:
        return hex_address(value, out->policy.contract, NULL);
    case OPTION_MAX_FEE:
        return number(value, &out->policy.max_fee);
    case OPTION_MAX_PRIORITY_FEE:
        return number(value, &out->policy.max_priority_fee);
    case OPTION_MAX_GAS:
        return number(value, &out->policy.max_gas);
    case OPTION_BUDGET:
        return number(value, &out->budget);
    }
    return -1;
}

static int parse(int argc, char **argv, struct arguments *out, struct err *err)
{
    static const uint8_t nowhere[20] = {0};
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?' || take((enum argument)option, optarg, out) != 0)
            return err_set(err, "argument %d is not understood", optind - 1);
    }
    if (optind != argc || out->policy.chain_id == 0 || out->policy.max_gas == 0 ||
        out->budget == 0 || memcmp(out->policy.contract, nowhere, 20) == 0)
        return err_set(err, "chain-id, contract, max-gas and budget are needed");
    return 0;
}

/* Somebody at a terminal is told what this is. */
static bool started_by_payd(void)
{
    int type = 0;
    socklen_t len = sizeof(type);
    return getsockopt(JAIL_FD, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

static int load(const struct arguments *arguments, struct sign_key **key, struct err *err)
{
    struct word digest = {{0}};
    uint8_t signature[65];
    if (jail_early(err) != 0 || key_load(&arguments->files, key, err) != 0 ||
        sign_key_lock(*key, err) != 0)
        return -1;
    /* What is set up at first use is set up now, while that is still allowed. */
    if (sign_digest(*key, &digest, signature, err) != 0 || jail_user(arguments->user, err) != 0)
        return -1;
    mem_wipe(signature, sizeof(signature));
    return jail_close(err);
}

static bool answer(const struct frame_reply *reply)
{
    uint8_t packet[FRAME_REPLY];
    frame_write_reply(reply, packet);
    return write(JAIL_FD, packet, sizeof(packet)) == (ssize_t)sizeof(packet);
}

static enum frame_kind sign(const struct sign_key *key, const struct policy *policy,
                            struct budget *budget, const struct eth_tx *tx, uint8_t signature[65],
                            struct err *err)
{
    if (policy_check(policy, tx, err) != 0)
        return FRAME_REFUSED;
    if (budget_take(budget, tx, clock_mono_ms(&clock_system), err) != 0)
        return FRAME_SPENT;
    struct word digest = tx_digest(tx);
    return sign_digest(key, &digest, signature, err) == 0 ? FRAME_SIGNED : FRAME_REFUSED;
}

static bool serve(const struct sign_key *key, const struct policy *policy, struct budget *budget)
{
    uint8_t packet[FRAME_REQUEST + 1];
    struct frame_request request;
    struct frame_reply reply = {.id = 0};
    struct err err = {{0}};
    ssize_t len = read(JAIL_FD, packet, sizeof(packet));
    if (len <= 0 || frame_read_request(packet, (size_t)len, &request) != 0)
        return false;
    reply.id = request.id;
    reply.kind = sign(key, policy, budget, &request.tx, reply.signature, &err);
    snprintf(reply.text, sizeof(reply.text), "%.*s", FRAME_TEXT - 1, err.msg);
    return answer(&reply);
}

/* By _exit: nothing is to be done at the end that the filter would not allow. */
static _Noreturn void end(struct sign_key **key, int status)
{
    sign_key_free(key);
    _exit(status);
}

int main(int argc, char **argv)
{
    static struct budget budget;
    struct arguments arguments = {.user = NULL};
    struct sign_key *key = NULL;
    struct err err = {{0}};
    struct frame_reply reply = {.kind = FRAME_READY};
    if (!started_by_payd()) {
        fputs("payd-signer holds the operator's key for payd, which starts it\n", stderr);
        return 2;
    }
    if (parse(argc, argv, &arguments, &err) != 0 || load(&arguments, &key, &err) != 0) {
        reply.kind = FRAME_FAILED;
        snprintf(reply.text, sizeof(reply.text), "%.*s", FRAME_TEXT - 1, err.msg);
        (void)answer(&reply);
        end(&key, 1);
    }
    sign_key_address(key, reply.address);
    budget.limit = arguments.budget;
    bool well = answer(&reply);
    while (well)
        well = serve(key, &arguments.policy, &budget);
    end(&key, 0);
}
