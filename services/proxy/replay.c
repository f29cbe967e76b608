/* Keeps and repeats a request's body. */
#include "services/proxy/replay.h"

#include "services/proxy/exchange.h"

#include <string.h>

#define FIRST_CAP 4096

void replay_begin(struct exchange *exchange, size_t limit)
{
    struct replay *replay = &exchange->replay;
    if (replay->pulled)
        return; /* a room has read it: it is kept already */
    bool fits = exchange->body == BODY_CHUNKED ||
                (exchange->body == BODY_LENGTH && exchange->body_length <= limit);
    replay->keeping = limit > 0 && fits;
    replay->limit = limit;
}

void replay_rewind(struct exchange *exchange)
{
    exchange->replay.at = 0;
    exchange->replay.over = false;
}

static void reserve(struct exchange *exchange, size_t len)
{
    struct replay *replay = &exchange->replay;
    size_t cap = replay->cap ? replay->cap : FIRST_CAP;
    if (exchange->body == BODY_LENGTH)
        cap = (size_t)exchange->body_length;
    while (cap < len)
        cap *= 2;
    if (cap <= replay->cap)
        return;
    char *data = h2o_mem_alloc_pool(&exchange->request.pool, cap);
    if (replay->len)
        memcpy(data, replay->data, replay->len);
    replay->data = data;
    replay->cap = cap;
}

static void keep(struct exchange *exchange, const struct piece *piece)
{
    struct replay *replay = &exchange->replay;
    if (exchange->responded || piece->len > replay->limit - replay->len) {
        replay->keeping = false;
        return;
    }
    if (piece->len) {
        reserve(exchange, replay->len + piece->len);
        memcpy(replay->data + replay->len, piece->data, piece->len);
        replay->len += piece->len;
        replay->at = replay->len;
    }
    if (piece->end && piece->trailers.len)
        replay->trailers =
            h2o_strdup(&exchange->request.pool, piece->trailers.base, piece->trailers.len);
    replay->ended = piece->end;
}

int replay_pull(struct exchange *exchange, struct piece *piece)
{
    struct replay *replay = &exchange->replay;
    if (replay->over)
        return 0;
    if (replay->keeping && (replay->at < replay->len || replay->ended)) {
        *piece = (struct piece){.data = replay->data + replay->at,
                                .len = replay->len - replay->at,
                                .end = replay->ended,
                                .trailers = replay->trailers};
        replay->at = replay->len;
        replay->over = piece->end;
        return 1;
    }
    if (replay->keeping)
        piece->pipe = NULL;
    int result = exchange_pull(exchange, piece);
    if (result <= 0)
        return result;
    replay->pulled = true;
    replay->over = piece->end;
    if (replay->keeping)
        keep(exchange, piece);
    return result;
}

bool replay_possible(const struct exchange *exchange)
{
    const struct replay *replay = &exchange->replay;
    return exchange->body == BODY_NONE || !replay->pulled || replay->keeping;
}
