/* Owns the one decision about bytes that JSON makes us take: is this UTF-8 or not. Shared by log
 * lines and refusals, which both carry text that a stranger chose. */
#include "libcommon/utf8.h"

static size_t length_of(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2)
        return 0;
    if (lead < 0xe0)
        return 2;
    if (lead < 0xf0)
        return 3;
    return lead < 0xf5 ? 4 : 0;
}

size_t utf8_len(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t need = length_of(at[0]);

    if (need == 0 || need > len)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90))
        return 0;
    if ((at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return need;
}
