/* How much memory the process has against what it may have, looked at by the loops themselves: near
 * the limit requests are refused, nearer still connections too, until what is held was let go.
 * An allocation that fails ends the process (libcommon/mem.h), and the kernel kills who exceeds its
 * cgroup; both would lose every request in flight where refusing some loses none. */
#ifndef PROXY_MEMORY_GUARD_H
#define PROXY_MEMORY_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct memory_guard;

enum memory_level {
    MEMORY_FINE,
    MEMORY_SHORT, /* new requests are refused */
    MEMORY_SPENT, /* new connections too */
};

/* Bytes of the measure that is nearest to its limit: resident memory of the process, or what its
 * cgroup has besides caches. */
struct memory_state {
    int64_t used, limit;
    enum memory_level level;
};

/* What follows from a measurement; who is short stays so until there is clearly more room. */
enum memory_level memory_guard_judge(enum memory_level now, int64_t used, int64_t limit);

/* `cgroups` is where they are mounted, `own` what the process's own is called in version 2 (as in
 * /proc/self/cgroup); without a limit there or above, only the process itself is measured. */
struct memory_guard *memory_guard_new(const char *cgroups, const char *own);
/* Where it is mounted on every machine, and by /proc/self/cgroup. */
struct memory_guard *memory_guard_of_process(void);
void memory_guard_free(struct memory_guard **guard);

/* Of the resident memory, in bytes; 0: the machine's. Any thread. */
void memory_guard_limit(struct memory_guard *guard, int64_t limit);
/* Measures where nobody has in the last 20 ms, or near the limit 5 ms. Any thread. */
void memory_guard_look(struct memory_guard *guard, int64_t now_ns);
enum memory_level memory_guard_level(const struct memory_guard *guard);
struct memory_state memory_guard_state(const struct memory_guard *guard);
/* While memory is short, and once afterwards: what the allocator keeps goes back to the system.
 * Takes milliseconds; not on a loop. */
void memory_guard_trim(struct memory_guard *guard);

#endif
