/* Normal forms: of a path and of a host each is its own normal form, holds nothing that was to be
 * removed, and is no longer than what it came from. */
#include "services/proxy/path.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void path(const char *text, size_t len)
{
    char *out = malloc(len), *again = malloc(len);
    size_t out_len, again_len;
    h2o_iovec_t in = {malloc(len), len};
    memcpy(in.base, text, len);
    bool normal = path_is_normal(in);
    const char *why = path_normalize(in, out, &out_len);
    if (!why) {
        check(out_len > 0 && out_len <= len && out[0] == '/');
        check(!normal || (out_len == len && memcmp(out, text, len) == 0));
        check(!memmem(out, out_len, "//", 2) && !memmem(out, out_len, "/./", 3) &&
              !memmem(out, out_len, "/../", 4) && !memmem(out, out_len, "/..;", 4) &&
              !memchr(out, '\\', out_len));
        check(!path_normalize(h2o_iovec_init(out, out_len), again, &again_len));
        check(again_len == out_len && memcmp(out, again, out_len) == 0);
    } else {
        check(!normal);
    }
    free(in.base);
    free(out);
    free(again);
}

static void host(const char *text, size_t len)
{
    char *out = malloc(len ? len : 1), *again = malloc(len ? len : 1);
    size_t out_len, again_len;
    h2o_iovec_t in = {malloc(len ? len : 1), len};
    memcpy(in.base, text, len);
    if (host_normalize(in, out, &out_len) == 0) {
        check(out_len > 0 && out_len <= len);
        check(host_port(in) <= 65535);
        check(host_normalize(h2o_iovec_init(out, out_len), again, &again_len) == 0);
        check(again_len == out_len && memcmp(out, again, out_len) == 0);
    }
    free(in.base);
    free(out);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    union {
        const uint8_t *bytes;
        const char *text;
    } in = {.bytes = data};

    if (size && in.text[0] == '/')
        path(in.text, size);
    else
        host(in.text, size);
    return 0;
}
