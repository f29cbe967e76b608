/* What the wallet asks the chain and tells it. Every answer is read strictly; what cannot be is an
 * error of the node. */
#ifndef PAYD_WALLET_NODE_H
#define PAYD_WALLET_NODE_H

#include "services/payd/evm.h"
#include "services/payd/fees.h"
#include "services/payd/rpc.h"
#include "services/payd/wallet_revert.h"

#define WALLET_NODE_NONCE_MAX ((int64_t)1 << 40) /* more than any address can have sent */

/* The chain as one look sees it. */
struct wallet_view {
    int64_t head;
    bool priced; /* its blocks name a base fee (EIP-1559) */
    struct fees_market market;
    int64_t latest;  /* transactions of the address on the chain: the next nonce there */
    int64_t pending; /* the same with those that wait */
    int64_t balance_gwei;
};

int wallet_node_look(struct rpc *rpc, const char *address, struct wallet_view *out,
                     struct err *err) MUST_USE;
/* Transactions of an address up to a block; -1 as block: the newest. */
int wallet_node_count(struct rpc *rpc, const char *address, int64_t block, int64_t *out,
                      struct err *err) MUST_USE;

struct wallet_receipt {
    int64_t block;
    char block_hash[EVM_HASH];
    bool reverted;
};

/* *found is false where the node has none: not mined, or not any more. */
int wallet_node_receipt(struct rpc *rpc, const char *hash, struct wallet_receipt *out, bool *found,
                        struct err *err) MUST_USE;

/* 0: *gas is what the call takes. 1: refused, *why tells. -1: no answer. */
int wallet_node_estimate(struct rpc *rpc, const char *from, const char *to, const char *data,
                         int64_t *gas, struct wallet_revert *why, struct err *err) MUST_USE;

enum wallet_sent {
    WALLET_SENT_TAKEN,   /* also where the node had it already */
    WALLET_SENT_USED,    /* the nonce is used: mined, or another's */
    WALLET_SENT_POOR,    /* the address cannot pay for it */
    WALLET_SENT_CHEAP,   /* it offers too little at the moment */
    WALLET_SENT_REFUSED, /* anything else */
};

/* -1: no answer; it may have been taken all the same. err holds the node's words where it is not
 * taken. */
int wallet_node_send(struct rpc *rpc, const char *raw, enum wallet_sent *out,
                     struct err *err) MUST_USE;

/* A quantity of up to 256 bits of wei in gwei, rounded down; FEES_MOST where it is more. */
int wallet_node_gwei(const char *quantity, int64_t *out) MUST_USE;

#endif
