/* Hex is opaque enough, and has one form for each value. */
#include "services/adminsvc/cursor.h"

#include "libcommon/eth/hex.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define POSITION_MAX 60

void cursor_encode(char kind, const char *position, char out[CURSOR_MAX])
{
    char raw[POSITION_MAX + 2];
    int len = snprintf(raw, sizeof(raw), "%c%s", kind, position);
    assert(len > 0 && (size_t)len < sizeof(raw));
    hex_encode_bare(raw, (size_t)len, out);
}

int cursor_decode(char kind, const char *cursor, char *position, size_t size)
{
    char prefixed[CURSOR_MAX + 2];
    char raw[POSITION_MAX + 2];
    size_t len;
    if (strlen(cursor) >= CURSOR_MAX || strspn(cursor, "0123456789abcdef") != strlen(cursor))
        return -1;
    snprintf(prefixed, sizeof(prefixed), "0x%s", cursor);
    if (hex_decode_any(prefixed, raw, sizeof(raw) - 1, &len) != 0 || len < 2 || len > size ||
        raw[0] != kind || memchr(raw, '\0', len) != NULL)
        return -1;
    memcpy(position, raw + 1, len - 1);
    position[len - 1] = '\0';
    return 0;
}
