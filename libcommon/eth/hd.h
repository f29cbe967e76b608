/* Keys from words: a mnemonic (BIP-39, English list) gives a seed, the seed a
 * tree of keys (BIP-32), a path one key in it (BIP-44: m/44'/60'/0'/0/0 is
 * Ethereum's first). No error repeats any part of a mnemonic or a passphrase.
 */
#ifndef LIBCOMMON_ETH_HD_H
#define LIBCOMMON_ETH_HD_H

#include "libcommon/eth/sign.h"

#define HD_SEED      64
#define HD_DEPTH_MAX 10
#define HD_HARDENED  0x80000000u

struct hd_path {
    uint32_t index[HD_DEPTH_MAX]; /* HD_HARDENED set where it stands with ' or h */
    size_t depth;
};

/* A private key of the tree, 32 bytes, and its chain code, 32 bytes; wipe it. */
struct hd_node {
    uint8_t key[64];
};

void hd_node_wipe(struct hd_node *node);
#define AUTO_HD_NODE CLEANUP(hd_node_wipe)

/* 12, 15, 18, 21 or 24 words of the list between any white space, the checksum
 * right. The passphrase is ASCII, at most 256 characters; NULL: none. */
int hd_seed(const char *mnemonic, const char *passphrase, uint8_t out[HD_SEED],
            struct err *err) MUST_USE;
/* 16 to 64 bytes. */
int hd_master(const uint8_t *seed, size_t len, struct hd_node *out, struct err *err) MUST_USE;
/* The node becomes its own child. -1: the one index in 2^127 that has none. */
int hd_child(struct hd_node *node, uint32_t index, struct err *err) MUST_USE;
/* "m" and at most HD_DEPTH_MAX times "/" and a number below 2^31, hardened with
 * ' or h. */
int hd_path_parse(const char *text, struct hd_path *out, struct err *err) MUST_USE;
/* All of it. */
int hd_key(const char *mnemonic, const char *passphrase, const char *path, struct sign_key **out,
           struct err *err) MUST_USE;

#endif
