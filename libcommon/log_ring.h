/* The ring between who logs and the thread that writes: bounded, many producers, one consumer, no
 * lock. For log.c only. */
#ifndef LIBCOMMON_LOG_RING_H
#define LIBCOMMON_LOG_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 2016 /* with its newline */

struct log_slot {
    _Atomic uint64_t turn; /* whose turn it is: position to write, position + 1 to read */
    uint64_t position;
    size_t len;
    char data[LOG_LINE_MAX];
};

enum log_ring_claim {
    LOG_RING_CLAIMED, /* fill the slot, then publish it */
    LOG_RING_FULL,    /* counted as dropped */
    LOG_RING_STOPPED, /* no writer runs */
};

enum log_ring_claim log_ring_claim(struct log_slot **out);
void log_ring_publish(struct log_slot *slot);

/* Starts the thread; it calls `dropped` with the number of lines dropped since the last call. */
void log_ring_start(void (*dropped)(uint64_t count));
/* Writes what is left, for at most a second each time standard error takes nothing. */
void log_ring_stop(void);
uint64_t log_ring_dropped(void);

/* For the `dropped` callback: adds a line to what is being written. */
void log_ring_write(const char *data, size_t len);

#endif
