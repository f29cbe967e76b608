/* The WebSocket parser: the same verdict, counts and bytes however the input is cut; it never takes
 * more than there is. The first byte chooses side and extension. */
#include "services/proxy/websocket.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    bool wrong;
    uint64_t hash, passed, messages;
};

static void add(struct sum *sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum->hash = sum->hash * 31 + data[i];
    sum->passed += len;
}

static struct sum follow(uint8_t mode, const uint8_t *in, size_t size, size_t cut)
{
    struct sum sum = {false, 0, 0, 0};
    struct websocket ws;
    websocket_init(&ws, mode & 1, mode & 2);
    for (size_t at = 0; at < size && !sum.wrong;) {
        size_t n = cut - at % cut, used = 0;
        const char *why = NULL;
        if (n > size - at)
            n = size - at;
        enum websocket_step step = websocket_step(&ws, (const char *)in + at, n, &used, &why);
        if (used == 0 || used > n || ws.head_len > WEBSOCKET_HEADER_MAX)
            abort();
        if (step == WEBSOCKET_HEAD)
            add(&sum, ws.head, ws.head_len);
        if (step == WEBSOCKET_PAYLOAD)
            add(&sum, in + at, used);
        sum.messages += step == WEBSOCKET_HEAD && websocket_begins(&ws);
        sum.wrong = step == WEBSOCKET_ERROR;
        if (sum.wrong && !why)
            abort();
        at += used;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct sum whole = follow(data[0], data + 1, size - 1, size);
    for (size_t cut = 1; cut <= 7; cut += 3) {
        struct sum parts = follow(data[0], data + 1, size - 1, cut);
        if (parts.wrong != whole.wrong || parts.hash != whole.hash ||
            parts.passed != whole.passed || parts.messages != whole.messages)
            abort();
    }
    return 0;
}
