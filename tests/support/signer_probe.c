/* Drives the signer from a test, as payd's wallet does: options as one JSON argument, then one
 * transaction a line on standard input (numbers as decimal text), one answer a line on standard
 * output. {"tick": true} in place of a transaction asks whether it is there. */
#include "libcommon/eth/hex.h"
#include "libcommon/json.h"
#include "libcommon/log.h"
#include "services/payd/signer.h"

#include <stdio.h>
#include <string.h>

#define LINE_MAX 4096

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value == NULL ? "" : value;
}

static uint64_t number(const json_t *object, const char *key)
{
    return strtoull(text(object, key), NULL, 10);
}

static void say(json_t *answer)
{
    AUTO_FREE char *line = json_text(answer);
    json_decref(answer);
    puts(line);
    fflush(stdout);
}

static void on_health(void *ctx, bool ok, const char *detail)
{
    (void)ctx;
    say(json_pack("{s:b, s:s}", "healthy", ok, "detail", detail));
}

static struct signer *start(const json_t *json, struct err *err)
{
    struct signer *signer = NULL;
    struct signer_options options = {.program = text(json, "program"),
                                     .keystore = text(json, "keystore"),
                                     .mnemonic_file = text(json, "mnemonic_file"),
                                     .password_file = text(json, "password_file"),
                                     .path = text(json, "path"),
                                     .user = text(json, "user"),
                                     .chain_id = number(json, "chain_id"),
                                     .max_fee = number(json, "max_fee"),
                                     .max_priority_fee = number(json, "max_priority_fee"),
                                     .max_gas = number(json, "max_gas"),
                                     .budget = number(json, "budget"),
                                     .on_health = on_health};
    if (hex_decode(text(json, "contract"), options.contract, 20) != 0 ||
        signer_start(&options, &signer, err) != 0)
        return NULL;
    return signer;
}

static void sign(struct signer *signer, const json_t *json)
{
    static const char *const verdicts[] = {"signed", "refused", "spent", "away"};
    uint8_t data[LINE_MAX];
    struct signer_result result;
    struct err err = {{0}};
    struct eth_tx tx = {.chain_id = number(json, "chain_id"),
                        .nonce = number(json, "nonce"),
                        .priority_fee = number(json, "priority_fee"),
                        .max_fee = number(json, "max_fee"),
                        .gas = number(json, "gas"),
                        .data = data};
    if (hex_decode(text(json, "to"), tx.to, 20) != 0 ||
        word_from_decimal(text(json, "value"), &tx.value) != 0 ||
        hex_decode_any(text(json, "data"), data, sizeof(data), &tx.data_len) != 0) {
        say(json_pack("{s:s}", "verdict", "not a transaction"));
        return;
    }
    int failed = signer_sign(signer, &tx, &result, &err);
    AUTO_FREE char *raw = mem_alloc(2 * result.raw.len + 3);
    char hash[67] = "";
    hex_encode(result.raw.len > 0 ? result.raw.data : "", result.raw.len, raw);
    if (failed == 0)
        word_hex(&result.hash, hash);
    say(json_pack("{s:s, s:s, s:s, s:s}", "verdict", verdicts[result.verdict], "raw", raw, "hash",
                  hash, "error", err.msg));
    signer_result_clear(&result);
}

static void serve(struct signer *signer)
{
    char line[LINE_MAX];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        AUTO_JSON json_t *json = json_loads(line, 0, NULL);
        if (json_object_get(json, "tick") != NULL)
            say(json_pack("{s:b}", "up", signer_tick(signer)));
        else
            sign(signer, json);
    }
}

int main(int argc, char **argv)
{
    struct err err = {{0}};
    uint8_t address[20];
    char shown[43];
    AUTO_JSON json_t *json = argc == 2 ? json_loads(argv[1], 0, NULL) : NULL;
    log_init("signer_probe", LOG_LEVEL_INFO);
    struct signer *signer = start(json, &err);
    if (signer == NULL) {
        say(json_pack("{s:s}", "error", err.msg));
        return 1;
    }
    signer_address(signer, address);
    hex_address_format(address, shown);
    say(json_pack("{s:s}", "address", shown));
    serve(signer);
    signer_stop(&signer);
    return 0;
}
