/* The operator's key, held by a process of its own (payd-signer) that can do nothing but sign what
 * its policy allows: calls of our contract by a fixed chain id, with value 0, a known selector and
 * capped gas and fees, within a budget for each hour. This is payd's side of it: it starts the
 * process, asks it with a time limit, notices its death and starts it again with growing pauses.
 * One thread at a time may use a signer: signer_start on the main thread, then the wallet's thread
 * alone. */
#ifndef PAYD_SIGNER_H
#define PAYD_SIGNER_H

#include "libcommon/eth/tx.h"

struct clock;
struct signer;

/* Copied; empty strings and NULL are the same. */
struct signer_options {
    const char *program;       /* path of payd-signer; NULL: beside this process's own binary */
    const char *keystore;      /* Web3 secret storage v3 */
    const char *mnemonic_file; /* BIP-39; exactly one of the two */
    const char
        *password_file; /* the keystore's password, or the mnemonic's passphrase (may lack) */
    const char *path;   /* BIP-32 path below the mnemonic's seed */
    const char *user;   /* name or uid:gid that it becomes where payd is root; else nobody */
    uint64_t chain_id;
    uint8_t contract[20];
    uint64_t max_fee;          /* caps: wei per gas */
    uint64_t max_priority_fee; /* wei per gas */
    uint64_t max_gas;
    uint64_t budget;           /* gwei that it offers for gas within an hour; not 0 */
    int64_t start_ms;          /* longest wait for a key to be derived; 0: 60 s */
    int64_t sign_ms;           /* longest wait for a signature; 0: 5 s */
    const struct clock *clock; /* NULL: clock_system */
    /* Called on the caller's thread when the process came up, went away or could not start. */
    void (*on_health)(void *ctx, bool ok, const char *detail);
    void *ctx;
};

enum signer_verdict {
    SIGNER_SIGNED,
    SIGNER_REFUSED, /* the policy forbids it: it never will be signed */
    SIGNER_SPENT,   /* the budget of this hour has no room for it: try again later */
    SIGNER_AWAY     /* no process just now: try again later */
};

struct signer_result {
    enum signer_verdict verdict;
    struct buf raw;   /* for eth_sendRawTransaction */
    struct word hash; /* of the transaction */
};

/* Starts the process and waits for its address. -1: the files or the options are wrong. */
int signer_start(const struct signer_options *options, struct signer **out,
                 struct err *err) MUST_USE;
void signer_address(const struct signer *signer, uint8_t out[20]);
/* 0: signed, and the signature was checked to be the address's own for this very transaction. -1:
 * result->verdict tells whether to try again. `result` is written anew, whatever it held must have
 * been cleared. */
int signer_sign(struct signer *signer, const struct eth_tx *tx, struct signer_result *result,
                struct err *err) MUST_USE;
void signer_result_clear(struct signer_result *result);
/* Now and then (each turn of the wallet): notices a death without being asked to sign, and starts
 * the process again when its pause is over. Never waits. True: it is there. */
bool signer_tick(struct signer *signer);
/* Ends the process and waits for it. */
void signer_stop(struct signer **signer);

#endif
