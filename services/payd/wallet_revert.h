/* Why a call would revert, in words: our contract's own errors by name with their values. */
#ifndef PAYD_WALLET_REVERT_H
#define PAYD_WALLET_REVERT_H

#include <stdbool.h>

#define WALLET_REVERT_TEXT 257

struct wallet_revert {
    bool reverted; /* the contract refused; else the node did, for a reason of its own */
    bool already;  /* what was asked for is already so */
    bool final;    /* it will never be otherwise */
    char why[WALLET_REVERT_TEXT]; /* printable ASCII */
};

/* `message` and `data` are the error's of a node's answer to eth_estimateGas: any bytes; `data`
 * empty where it gave none. */
void wallet_revert_read(long long code, const char *message, const char *data,
                        struct wallet_revert *out);

#endif
