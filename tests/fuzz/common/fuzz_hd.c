/* Any text as a mnemonic and as a path: what is taken for a path is written the same again. */
#include "libcommon/eth/hd.h"

#include "libcommon/buf.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *text)
{
    struct hd_path path;
    struct err err;
    AUTO_BUF struct buf again = {0};
    if (hd_path_parse(text, &path, &err) != 0)
        return;
    if (path.depth > HD_DEPTH_MAX)
        abort();
    buf_puts(&again, "m");
    const char *at = text + 1;
    for (size_t i = 0; i < path.depth; i++) {
        buf_printf(&again, "/%u", path.index[i] & ~HD_HARDENED);
        at += 1 + strcspn(at + 1, "/");
        if ((path.index[i] & HD_HARDENED) != 0)
            buf_putc(&again, at[-1]); /* ' or h */
    }
    if (strcmp(again.data, text) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t seed[HD_SEED];
    struct err err;
    char *text = mem_strndup((const char *)data, size);
    check_path(text);
    if (size < 400 && hd_seed(text, NULL, seed, &err) == 0) {
        struct hd_node node;
        if (hd_master(seed, sizeof(seed), &node, &err) == 0)
            hd_node_wipe(&node);
    }
    free(text);
    return 0;
}
