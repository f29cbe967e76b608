/* One thread for each relay, on payd's hints: a new reason to look ends its wait. */
#include "services/payd/courier.h"

#include "libcommon/log.h"

#include <string.h>

#define IDLE_MS    250
#define AWAY_MS    1000
#define PUBLISH_MS 2000

struct courier {
    struct courier_options options;
    pthread_t thread;
    bool stream_ready;
    bool told; /* that it does not work */
};

struct payd *courier_payd(const struct courier *courier)
{
    return courier->options.payd;
}

void *courier_ctx(const struct courier *courier)
{
    return courier->options.ctx;
}

static int stream_ensure(struct courier *courier, struct err *err)
{
    const struct courier_options *options = &courier->options;
    if (courier->stream_ready)
        return 0;
    if (bus_stream_ensure(options->payd->bus, &options->stream, PUBLISH_MS, err) != 0)
        return err_wrap(err, "stream %s", options->stream.name);
    courier->stream_ready = true;
    return 0;
}

int courier_publish(struct courier *courier, const char *subject, const char *id, const char *text,
                    struct err *err)
{
    if (stream_ensure(courier, err) == 0 &&
        bus_stream_publish(courier->options.payd->bus, subject, id, text, strlen(text), PUBLISH_MS,
                           err) == 0)
        return 0;
    /* The stream may have been deleted. */
    courier->stream_ready = false;
    return -1;
}

static int64_t turn(struct courier *courier)
{
    struct err err = {{0}};
    struct payd *payd = courier->options.payd;
    bool more = false;
    int64_t epoch = atomic_load(&payd->epoch);
    if (epoch == 0)
        return IDLE_MS;
    if (courier->options.hand_on(courier, epoch, &more, &err) != 0) {
        if (!courier->told && !atomic_load(&payd->stop))
            log_warn("nothing can be published at the moment", LOG_STR(NAME, courier->options.what),
                     LOG_STR(ERROR, err.msg));
        courier->told = true;
        return AWAY_MS;
    }
    if (courier->told)
        log_info("published again", LOG_STR(NAME, courier->options.what));
    courier->told = false;
    return more ? 0 : IDLE_MS;
}

static void *courier_main(void *ctx)
{
    struct courier *courier = ctx;
    uint64_t seen = 0;
    while (!payd_wait_hint(courier->options.payd, &seen, turn(courier))) {
    }
    return NULL;
}

struct courier *courier_start(const struct courier_options *options)
{
    struct courier *courier = mem_zalloc(sizeof(*courier));
    courier->options = *options;
    if (pthread_create(&courier->thread, NULL, courier_main, courier) != 0)
        abort();
    return courier;
}

void courier_join(struct courier **courier_ptr)
{
    struct courier *courier = *courier_ptr;
    *courier_ptr = NULL;
    if (courier == NULL)
        return;
    pthread_join(courier->thread, NULL);
    free(courier->options.ctx);
    free(courier);
}
