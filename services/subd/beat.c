/* Asks PostgreSQL for the head each second, so a beat that says healthy has just seen the truth. */
#include "services/subd/beat.h"

#include "libcommon/log.h"
#include "services/subd/gauges.h"
#include "services/subd/record.h"
#include "services/subd/ticker.h"

#include <stdio.h>
#include <string.h>

#define EVERY_MS 1000

struct beat {
    struct subd *subd;
    struct ticker *ticker;
};

static bool read_head(struct subd *subd, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    int64_t head;
    if (!atomic_load(&subd->migrated) || pg_acquire(subd->pg, EVERY_MS / 2, &conn, err) ||
        record_head(conn, &head, err))
        return false;
    atomic_store(&subd->head, head);
    metric_set(metrics_cell(subd->metrics, GAUGES_HEAD, NULL), head);
    return true;
}

static int64_t step(void *ctx)
{
    struct beat *beat = ctx;
    struct subd *subd = beat->subd;
    struct err err = {0};
    int64_t began = clock_mono_ms(subd->clock);
    struct sub_heartbeat out = {.postgres = read_head(subd, &err),
                                .redis = redis_healthy(subd->redis)};
    out.healthy = out.postgres;
    out.head = atomic_load(&subd->head);
    out.at_ms = clock_wall_ms(subd->clock);
    snprintf(out.instance, sizeof(out.instance), "%s", subd->instance);
    AUTO_FREE char *text = sub_heartbeat_encode(&out);
    if (bus_connected(subd->bus) &&
        bus_publish(subd->bus, SUB_SUBJECT_HEARTBEAT, text, strlen(text), &err))
        log_debug("heartbeat is lost", LOG_STR(ERROR, err.msg));
    int64_t left = EVERY_MS - (clock_mono_ms(subd->clock) - began);
    return left > 10 ? left : 10;
}

int beat_start(struct subd *subd, struct beat **out, struct err *err)
{
    struct beat *beat = mem_zalloc(sizeof(*beat));
    *out = beat;
    beat->subd = subd;
    return ticker_start("heartbeat", step, beat, &beat->ticker, err);
}

void beat_stop(struct beat **ptr)
{
    struct beat *beat = *ptr;
    if (!beat)
        return;
    *ptr = NULL;
    ticker_stop(&beat->ticker);
    free(beat);
}
