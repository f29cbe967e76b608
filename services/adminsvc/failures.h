/* Failed authentications by client: who has failed too often, and what the audit log is told of it
 * without being flooded. Bounded in memory, whatever comes. Thread-safe. */
#ifndef ADMINSVC_FAILURES_H
#define ADMINSVC_FAILURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAILURES_WINDOW_MS 60000
#define FAILURES_CLIENT    64
#define FAILURES_AT_ONCE   60 /* rows a minute that are written at once, of all clients together */

struct failures;

/* What happened in a window and is not in the audit log yet. */
struct failures_sum {
    char client[FAILURES_CLIENT];
    int64_t since_ms;
    int64_t count;
};

struct failures *failures_new(int64_t allowed);
void failures_free(struct failures **failures);
/* Milliseconds that the client has to wait; 0: it may try. */
int64_t failures_blocked(struct failures *failures, const char *client, int64_t now_ms);
/* Counts one. true: the caller writes it into the audit log itself; else it is part of a later sum.
 */
bool failures_note(struct failures *failures, const char *client, int64_t now_ms);
/* Moves the sums of windows that are over (all of them, where `all`) to out; how many. */
size_t failures_take(struct failures *failures, int64_t now_ms, bool all, struct failures_sum *out,
                     size_t max);
/* What could not be written is counted again, for later. */
void failures_put_back(struct failures *failures, const struct failures_sum *sum);

#endif
