/* Event data and texts of a node that lies: reads stay inside, conversions agree both ways. */
#include "libcommon/eth/abi.h"
#include "libcommon/eth/hex.h"
#include "libcommon/eth/sign.h"
#include "libcommon/proto/quote.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void texts(const char *text)
{
    struct word word, back;
    uint8_t address[20];
    struct err err;
    char out[80];
    if (word_from_decimal(text, &word) == 0) {
        word_decimal(&word, out);
        assert(strcmp(out, text) == 0);
    }
    if (word_from_hex(text, &word) == 0) {
        word_hex(&word, out);
        assert(word_from_hex(out, &back) == 0 && memcmp(&back, &word, 32) == 0);
    }
    if (hex_address(text, address, &err) == 0) {
        uint8_t again[20];
        hex_address_format(address, out);
        assert(hex_address(out, again, &err) == 0 && memcmp(again, address, 20) == 0);
    }
}

static void words(const uint8_t *data, size_t size)
{
    struct word word;
    struct quote_terms terms;
    for (size_t i = 0; abi_word(data, size, i, &word) == 0; i++) {
        const uint8_t *bytes;
        size_t len;
        if (abi_bytes(data, size, i, &bytes, &len) == 0)
            assert(bytes >= data + 32 && len <= size && bytes + len <= data + size);
        quote_terms_unpack(&word, &terms);
        struct word again = quote_terms_pack(&terms);
        assert(memcmp(&again, &word, 32) == 0);
        assert(quote_unused(&terms, terms.start / 2 + terms.expiry / 2) <= terms.paid);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    uint8_t address[20];
    texts(text);
    words(data, size);
    struct word digest = abi_topic(text);
    if (sign_recover(&digest, data, size, address) == 0)
        assert(size == 64 || size == 65);
    free(text);
    return 0;
}
