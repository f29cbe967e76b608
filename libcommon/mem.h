/* Allocation that aborts when memory is gone, and the tree's one idiom of cleanup: a variable
 * declared with one of the AUTO_ macros is released when it leaves its scope. MEM_STEAL hands it to
 * the caller instead. */
#ifndef LIBCOMMON_MEM_H
#define LIBCOMMON_MEM_H

#include "libcommon/err.h"

#include <stddef.h>
#include <stdlib.h>

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull));
/* count * size, checked for overflow; zeroed. */
void *mem_array(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_resize(void *ptr, size_t count, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((returns_nonnull));
char *mem_strndup(const char *text, size_t len) __attribute__((returns_nonnull));
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));
/* Overwrites a secret in a way the compiler keeps. */
void mem_wipe(void *ptr, size_t size);

#define CLEANUP(fn) __attribute__((cleanup(fn)))

void mem_cleanup_free(void *ptr_to_ptr);
#define AUTO_FREE CLEANUP(mem_cleanup_free)

#define MEM_STEAL(var)                                                                             \
    __extension__({                                                                                \
        __typeof__(var) stolen_ = (var);                                                           \
        (var) = NULL;                                                                              \
        stolen_;                                                                                   \
    })

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#endif
