/* Where a key lives while the process runs: pages that hold nothing else, which can be kept out of
 * swap and out of core dumps. The one way in the tree of doing either. */
#ifndef LIBCOMMON_SECRET_MEMORY_H
#define LIBCOMMON_SECRET_MEMORY_H

#include "libcommon/mem.h"

/* Zeroed; pages of its own, so that locking and freeing touch nothing else. */
void *secret_memory_new(size_t size) __attribute__((returns_nonnull));
/* Wipes it and gives it back, and with it its lock; NULL is fine. */
void secret_memory_free(void *secret, size_t size);
/* What secret_memory_new gave: kept out of core dumps and of swap, and the process out of reach of
 * others of its user (ptrace, /proc/<pid>/mem) and without core dumps at all. What can be had is
 * had; -1 with what could not: RLIMIT_MEMLOCK is too small, as a rule. */
int secret_memory_lock(void *secret, size_t size, struct err *err) MUST_USE;
/* The part that concerns the process alone. A change of user or exec undoes it. */
int secret_memory_undumpable(struct err *err) MUST_USE;

#endif
