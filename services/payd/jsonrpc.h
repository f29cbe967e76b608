/* The envelope of JSON-RPC 2.0: requests and answers, alone and in a batch. Pure. */
#ifndef PAYD_JSONRPC_H
#define PAYD_JSONRPC_H

#include "libcommon/json.h"

#define JSONRPC_BATCH_MAX 64
#define JSONRPC_DATA      1027 /* 0x + 512 bytes in hex + NUL */

/* Text of a request, the caller's; steals params. */
char *jsonrpc_request(int64_t id, const char *method, json_t *params);

struct jsonrpc_call {
    const char *method;
    json_t *params; /* borrowed */
};

/* Text of a batch, the caller's: ids from `id` upwards, in the order of the calls. */
char *jsonrpc_batch_request(int64_t id, const struct jsonrpc_call *calls, size_t count);

struct jsonrpc_answer {
    json_t *result; /* owned; NULL where it failed */
    bool failed;    /* the node answered with an error */
    int64_t code;
    char message[200]; /* printable ASCII, cut */
    /* What a call reverted with, as the node gave it: 0x-hex; empty: none, or longer. */
    char data[JSONRPC_DATA];
};

/* -1: not an answer to the request `id`. */
int jsonrpc_answer_parse(const char *text, size_t len, int64_t id, struct jsonrpc_answer *out,
                         struct err *err) MUST_USE;
/* Fills count answers in the order of the calls, whatever order they came in. -1: not exactly one
 * answer to each. *refused: an error stands in the place of all answers, out[0] holds it. On -1
 * nothing is left in out. */
int jsonrpc_batch_parse(const char *text, size_t len, int64_t id, size_t count,
                        struct jsonrpc_answer *out, bool *refused, struct err *err) MUST_USE;
void jsonrpc_answer_clear(struct jsonrpc_answer *answer);
#define AUTO_JSONRPC_ANSWER CLEANUP(jsonrpc_answer_clear)

#endif
