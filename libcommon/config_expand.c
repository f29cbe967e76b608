/* Owns what ${...} means inside a scalar. It runs after YAML was parsed, so that no variable and no
 * secret file can ever add a key or break out of its quotes. Errors name variables and files, never
 * what they hold. */
#include "libcommon/config_tree.h"

#include "libcommon/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (64 * 1024)

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int read_all(int fd, const char *path, size_t max, struct buf *out, struct err *err)
{
    char piece[16384];

    for (;;) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, "cannot read %.200s: %s", path, strerror(errno));
        if (n == 0)
            break;
        buf_add(out, piece, (size_t)n);
        if (out->len > max)
            break;
    }
    mem_wipe(piece, sizeof(piece));
    return out->len > max ? err_set(err, "%.200s is larger than %zu KiB", path, max / 1024) : 0;
}

int config_read_file(const char *path, size_t max, bool regular, char **out, size_t *len,
                     struct err *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | (regular ? O_NONBLOCK : 0));
    AUTO_BUF struct buf text = {0};
    struct stat stat;

    if (fd < 0 || fstat(fd, &stat) != 0)
        return err_set(err, "cannot open %.200s: %s", path, strerror(errno));
    if (S_ISDIR(stat.st_mode) || (regular && !S_ISREG(stat.st_mode)))
        return err_set(err, "%.200s is not a regular file", path);
    if (read_all(fd, path, max, &text, err) != 0)
        return -1;
    *len = text.len;
    *out = buf_steal(&text);
    return 0;
}

static int expand_file(const char *path, struct buf *out, struct err *err)
{
    AUTO_FREE char *text = NULL;
    size_t len;

    if (path[0] == '\0')
        return err_set(err, "${file:} needs a path, as ${file:/run/secrets/name}");
    if (config_read_file(path, FILE_MAX, true, &text, &len, err) != 0)
        return -1;
    if (memchr(text, '\0', len) != NULL)
        return err_set(err, "%.200s contains a NUL character", path);
    size_t keep = len > 0 && text[len - 1] == '\n' ? len - 1 : len;
    buf_add(out, text, keep);
    mem_wipe(text, len);
    return 0;
}

static size_t name_length(const char *text)
{
    size_t len = 0;

    while ((text[len] >= 'A' && text[len] <= 'Z') || (text[len] >= 'a' && text[len] <= 'z') ||
           text[len] == '_' || (len > 0 && text[len] >= '0' && text[len] <= '9'))
        len++;
    return len;
}

/* `inner` is what stands between ${ and }. */
static int expand_one(char *inner, struct buf *out, struct err *err)
{
    if (strncmp(inner, "file:", 5) == 0)
        return expand_file(inner + 5, out, err);
    size_t len = name_length(inner);
    const char *fallback = strncmp(inner + len, ":-", 2) == 0 ? inner + len + 2 : NULL;
    if (len == 0 || (inner[len] != '\0' && fallback == NULL))
        return err_set(err, "${%.60s} is not ${VARIABLE}, ${VARIABLE:-default} or ${file:/path}",
                       inner);
    inner[len] = '\0';
    const char *value = getenv(inner);
    if (fallback != NULL && (value == NULL || value[0] == '\0'))
        value = fallback;
    if (value == NULL)
        return err_set(err, "the environment variable %.100s is not set", inner);
    buf_puts(out, value);
    return 0;
}

static int expand_dollar(const char **at, const char *end, struct buf *out, struct err *err)
{
    const char *dollar = *at;

    if (end - dollar >= 2 && dollar[1] == '$') {
        buf_putc(out, '$');
        *at = dollar + 2;
        return 0;
    }
    if (end - dollar < 2 || dollar[1] != '{')
        return err_set(err, "a dollar sign is written $$, a variable ${NAME}");
    const char *close = memchr(dollar, '}', (size_t)(end - dollar));
    if (close == NULL)
        return err_set(err, "${ without its }");
    AUTO_FREE char *inner = mem_strndup(dollar + 2, (size_t)(close - dollar - 2));
    *at = close + 1;
    return expand_one(inner, out, err);
}

static void wipe_buf(struct buf *buf)
{
    if (buf->data != NULL)
        mem_wipe(buf->data, buf->len);
    buf_free(buf);
}

int config_expand(struct config_arena *arena, const char *text, size_t len, const char **out,
                  bool *expanded, struct err *err)
{
    CLEANUP(wipe_buf) struct buf result = {.max = CONFIG_MAX_SCALAR};
    const char *end = text + len;
    const char *at = text;

    *expanded = memchr(text, '$', len) != NULL;
    *out = text;
    if (!*expanded)
        return 0;
    while (at < end) {
        const char *dollar = memchr(at, '$', (size_t)(end - at));
        const char *stop = dollar != NULL ? dollar : end;
        buf_add(&result, at, (size_t)(stop - at));
        at = stop;
        if (at < end && expand_dollar(&at, end, &result, err) != 0)
            return -1;
    }
    if (result.overflow)
        return err_set(err, "longer than 64 KiB once expanded");
    *out = config_arena_strndup(arena, result.data != NULL ? result.data : "", result.len);
    return 0;
}
