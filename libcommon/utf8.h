/* Which bytes are UTF-8 (RFC 3629): what is written into JSON must be, whatever a client sent. */
#ifndef LIBCOMMON_UTF8_H
#define LIBCOMMON_UTF8_H

#include <stddef.h>

/* Bytes of the valid sequence at text, of which len > 0 bytes may be read; 0 where it is none:
 * overlong forms, surrogates and what is past U+10FFFF are none. */
size_t utf8_len(const char *text, size_t len);

#endif
