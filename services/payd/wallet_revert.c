/* Reads revert data (ABI-encoded custom errors, Error(string), Panic(uint256)) against the table of
 * errors that calls of the wallet can meet. The bytes come from a node: everything is bounded, and
 * what is not known is shown as hex. */
#include "services/payd/wallet_revert.h"

#include "libcommon/buf.h"
#include "libcommon/eth/abi.h"
#include "libcommon/eth/hex.h"

#include <stdio.h>
#include <string.h>

#define DATA_MAX      1024
#define CODE_REVERTED 3 /* geth's code for a call that reverted */

/* What is not known, such as a token's own errors, is passing too. */
enum means { PASSING, FINAL, ALREADY };

struct error {
    const char *signature;
    enum means means;
};

static const struct error errors[] = {
    {"WrongSeq(uint256)", FINAL},
    {"NothingToRefund()", FINAL},
    {"RefundWindowOver(uint256)", FINAL},
    {"BadRefund(uint256,uint256)", PASSING},
    {"NotCovered(uint256)", PASSING},
    {"AlreadyRefunded(bytes32)", ALREADY},
    {"RevocationUnchanged()", ALREADY},
    {"NothingToWithdraw()", FINAL},
    {"UnknownToken(address)", FINAL},
    {"WrongTokenIndex(uint8)", FINAL},
    {"ShortTransfer(uint256,uint256)", PASSING},
    {"ZeroAddress()", FINAL},
    {"IsPaused()", PASSING},
    {"AccessControlUnauthorizedAccount(address,bytes32)", PASSING},
    {"SafeERC20FailedOperation(address)", PASSING},
    {"ReentrancyGuardReentrantCall()", PASSING},
};

static void put_printable(struct buf *out, const void *text, size_t len)
{
    const unsigned char *bytes = text;
    for (size_t i = 0; i < len; i++)
        buf_putc(out, bytes[i] >= ' ' && bytes[i] <= '~' ? (char)bytes[i] : '?');
}

/* Numbers that fit are decimal; what is longer, an address or a hash, is hex. */
static void put_word(struct buf *out, const struct word *word)
{
    uint64_t number;
    uint8_t address[20];
    char text[80];
    if (word_to_u64(word, &number) == 0)
        snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    else if (word_to_address(word, address) == 0)
        hex_encode(address, 20, text);
    else
        word_hex(word, text);
    buf_puts(out, text);
}

static void put_error(struct buf *out, const struct error *error, const uint8_t *data, size_t len)
{
    struct word word;
    const char *open = strchr(error->signature, '(');
    buf_add(out, error->signature, (size_t)(open - error->signature));
    for (size_t i = 0; i < 4 && abi_word(data, len, i, &word) == 0; i++) {
        buf_puts(out, i == 0 ? " " : ", ");
        put_word(out, &word);
    }
}

static bool is(const char *signature, const uint8_t *data)
{
    uint8_t selector[4];
    abi_selector(signature, selector);
    return memcmp(selector, data, 4) == 0;
}

static bool put_known(struct buf *out, const uint8_t *data, size_t len, enum means *means)
{
    const uint8_t *text;
    size_t text_len;
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        if (is(errors[i].signature, data)) {
            *means = errors[i].means;
            put_error(out, &errors[i], data + 4, len - 4);
            return true;
        }
    }
    if (!is("Error(string)", data) || abi_bytes(data + 4, len - 4, 0, &text, &text_len) != 0)
        return false;
    put_printable(out, text, text_len < 200 ? text_len : 200);
    return true;
}

void wallet_revert_read(long long code, const char *message, const char *data,
                        struct wallet_revert *out)
{
    uint8_t bytes[DATA_MAX];
    size_t len = 0;
    enum means means = PASSING;
    AUTO_BUF struct buf why = {0};
    *out = (struct wallet_revert){0};
    if (hex_decode_any(data, bytes, sizeof(bytes), &len) != 0)
        len = 0;
    out->reverted = len >= 4 || code == CODE_REVERTED || strstr(message, "revert") != NULL;
    if (len < 4 || !put_known(&why, bytes, len, &means)) {
        put_printable(&why, message, strlen(message));
        if (len >= 4)
            buf_printf(&why, " %.74s", data);
    }
    out->already = means == ALREADY;
    out->final = means == FINAL;
    snprintf(out->why, sizeof(out->why), "%s", why.len == 0 ? "no reason given" : why.data);
}
