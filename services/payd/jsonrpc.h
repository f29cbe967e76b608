/* The envelope of JSON-RPC 2.0: one request, one answer. Pure. */
#ifndef PAYD_JSONRPC_H
#define PAYD_JSONRPC_H

#include "libcommon/json.h"

/* Text of a request, the caller's; steals params. */
char *jsonrpc_request(int64_t id, const char *method, json_t *params);

struct jsonrpc_answer {
    json_t *result; /* owned; NULL where it failed */
    bool failed;    /* the node answered with an error */
    int64_t code;
    char message[200]; /* printable ASCII, cut */
};

/* -1: not an answer to the request `id`. */
int jsonrpc_answer_parse(const char *text, size_t len, int64_t id, struct jsonrpc_answer *out,
                         struct err *err) MUST_USE;
void jsonrpc_answer_clear(struct jsonrpc_answer *answer);
#define AUTO_JSONRPC_ANSWER CLEANUP(jsonrpc_answer_clear)

#endif
