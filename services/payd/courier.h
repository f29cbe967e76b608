/* The thread under both relays: while this instance leads, it hands rows on to a JetStream stream,
 * which it makes where it is missing; a failure is told once, and tried again after a pause. */
#ifndef PAYD_COURIER_H
#define PAYD_COURIER_H

#include "libcommon/bus.h"
#include "services/payd/payd.h"

struct courier;

struct courier_options {
    struct payd *payd;
    const char *what; /* for logs: "hints" */
    struct bus_stream stream;
    /* Hands on what is due in this epoch; *more: there is more, to be asked for at once. */
    int (*hand_on)(struct courier *courier, int64_t epoch, bool *more, struct err *err);
    void *ctx; /* freed with the courier */
};

struct courier *courier_start(const struct courier_options *options);
/* payd_stop must have been called. */
void courier_join(struct courier **courier);

/* For hand_on, on the thread. */
struct payd *courier_payd(const struct courier *courier);
void *courier_ctx(const struct courier *courier);
/* Publishes to the stream and waits for its acknowledgement; the first time and after a failure
 * the stream is made sure of. */
int courier_publish(struct courier *courier, const char *subject, const char *id, const char *text,
                    struct err *err) MUST_USE;

#endif
