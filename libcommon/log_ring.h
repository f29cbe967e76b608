/* A ring between those who have lines to write and the thread that takes them away: bounded, many
 * producers, one consumer, no lock; who produces never waits. What is done with a line is the
 * sink's affair: log.c writes it to standard error, others to a file or to the network. */
#ifndef LIBCOMMON_LOG_RING_H
#define LIBCOMMON_LOG_RING_H

#include "libcommon/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 2016 /* with its newline */

struct log_slot {
    _Atomic uint64_t turn; /* whose it is (log_ring.c) */
    uint64_t filled;       /* what it will be when this line is there */
    size_t len;
    char data[LOG_LINE_MAX];
};

enum log_ring_claim {
    LOG_RING_CLAIMED, /* fill the slot, then publish it */
    LOG_RING_FULL,    /* counted as dropped */
    LOG_RING_STOPPED, /* no writer runs */
};

/* Called on the ring's thread. */
struct log_ring_sink {
    void (*line)(void *ctx, const char *data, size_t len);
    /* Nothing more is at hand now, or somebody called log_ring_wake; `dropped` lines found no place
     * since the last call. */
    void (*flush)(void *ctx, uint64_t dropped);
    void *ctx;
};

struct log_ring;

/* `slots` lines of LOG_LINE_MAX; its thread runs between log_ring_start and log_ring_stop. */
struct log_ring *log_ring_new(const char *name, size_t slots, const struct log_ring_sink *sink);
/* -1: no thread could be made. */
int log_ring_start(struct log_ring *ring, struct err *err) MUST_USE;
/* Takes away what is left, then ends the thread. */
void log_ring_stop(struct log_ring *ring);
void log_ring_free(struct log_ring **ring);

enum log_ring_claim log_ring_claim(struct log_ring *ring, struct log_slot **out);
void log_ring_publish(struct log_ring *ring, struct log_slot *slot);
/* Calls `flush` soon, also where nothing was published. Any thread. */
void log_ring_wake(struct log_ring *ring);
/* For a sink that waits: the ring is to end, or somebody wants to be heard. */
bool log_ring_pressed(const struct log_ring *ring);
/* Lines that found no place since the start. */
uint64_t log_ring_dropped(const struct log_ring *ring);

#endif
