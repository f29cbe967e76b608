/* Owns the decision that memory never runs out silently: every allocation of the tree goes through
 * here and aborts the process where the system has none left, because a service that cannot
 * allocate cannot answer either, and its supervisor starts a fresh one. */
#include "libcommon/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *require(void *ptr)
{
    static const char msg[] = "out of memory\n";

    if (ptr == NULL) {
        ssize_t ignored = write(STDERR_FILENO, msg, sizeof(msg) - 1);
        (void)ignored;
        abort();
    }
    return ptr;
}

void *mem_alloc(size_t size)
{
    return require(malloc(size > 0 ? size : 1));
}

void *mem_zalloc(size_t size)
{
    return require(calloc(1, size > 0 ? size : 1));
}

void *mem_array(size_t count, size_t size)
{
    return require(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *mem_resize(void *ptr, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total) || total > PTRDIFF_MAX)
        return require(NULL);
    return require(realloc(ptr, total > 0 ? total : 1));
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

char *mem_strndup(const char *text, size_t len)
{
    size_t real = strnlen(text, len);
    char *copy = mem_alloc(real + 1);

    memcpy(copy, text, real);
    copy[real] = '\0';
    return copy;
}

char *mem_printf(const char *fmt, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    return require(len < 0 ? NULL : text);
}

void mem_wipe(void *ptr, size_t size)
{
    if (size > 0)
        explicit_bzero(ptr, size);
}

void mem_cleanup_free(void *ptr_to_ptr)
{
    void *ptr;

    memcpy(&ptr, ptr_to_ptr, sizeof(ptr)); /* any pointer type may be behind it */
    free(ptr);
}
