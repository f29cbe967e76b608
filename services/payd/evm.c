/* Reads blocks and event logs out of a node's JSON. A node may lie or be broken: every field is
 * checked for its exact form, and nothing is taken from a log but what its topics and data say.
 * `removed` is not looked at: nodes differ about it, block hashes do not. */
#include "services/payd/evm.h"

#include "libcommon/eth/hex.h"
#include "libcommon/proto/quote.h"

#include <stdio.h>
#include <string.h>

void evm_events_clear(struct evm_events *events)
{
    free(events->items);
    *events = (struct evm_events){0};
}

void evm_events_append(struct evm_events *events, struct evm_events *more)
{
    if (more->count > 0) {
        events->items =
            mem_resize(events->items, events->count + more->count, sizeof(*events->items));
        memcpy(events->items + events->count, more->items, more->count * sizeof(*more->items));
        events->count += more->count;
    }
    evm_events_clear(more);
}

json_t *evm_block_name(int64_t number)
{
    char text[24] = "latest";
    if (number >= 0)
        snprintf(text, sizeof(text), "0x%llx", (unsigned long long)number);
    return json_string(text);
}

int evm_quantity(const json_t *json, int64_t *out)
{
    const char *text = json_string_value(json);
    if (text == NULL || text[0] != '0' || text[1] != 'x')
        return -1;
    const char *digits = text + 2;
    size_t len = strlen(digits);
    if (len == 0 || len > 16 || (len > 1 && digits[0] == '0'))
        return -1;
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        char c = digits[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (unsigned)(c - 'A') + 10;
        else
            return -1;
        value = value << 4 | digit;
    }
    if (value > INT64_MAX)
        return -1;
    *out = (int64_t)value;
    return 0;
}

static int word_of(const json_t *json, struct word *out)
{
    const char *text = json_string_value(json);
    return text == NULL ? -1 : hex_decode(text, out->b, sizeof(out->b));
}

int evm_hash(const json_t *json, char out[EVM_HASH])
{
    struct word word;
    if (word_of(json, &word) != 0)
        return -1;
    hex_encode(word.b, sizeof(word.b), out);
    return 0;
}

int evm_block_parse(const json_t *json, struct evm_block *out, struct err *err)
{
    if (!json_is_object(json))
        return err_set(err, "block: not an object");
    if (evm_quantity(json_object_get(json, "number"), &out->number) != 0)
        return err_set(err, "block.number: not a quantity");
    if (out->number > EVM_BLOCK_MAX)
        return err_set(err, "block.number: %lld is none that a chain can have",
                       (long long)out->number);
    if (evm_quantity(json_object_get(json, "timestamp"), &out->time) != 0)
        return err_set(err, "block.timestamp: not a quantity");
    if (evm_hash(json_object_get(json, "hash"), out->hash) != 0)
        return err_set(err, "block.hash: not 32 bytes of hex");
    if (evm_hash(json_object_get(json, "parentHash"), out->parent) != 0)
        return err_set(err, "block.parentHash: not 32 bytes of hex");
    return 0;
}

static const char *const signatures[] = {
    [EVM_PAID] = QUOTE_EVENT_PAID,
    [EVM_REVOKED] = QUOTE_EVENT_REVOKED,
    [EVM_REFUNDED] = QUOTE_EVENT_REFUNDED,
    [EVM_TRANSFER_REFUNDED] = QUOTE_EVENT_TRANSFER_REFUNDED,
    [EVM_TOPPED_UP] = QUOTE_EVENT_TOPPED_UP,
    [EVM_SIGNER_CHANGED] = QUOTE_EVENT_SIGNER_CHANGED,
    [EVM_TRANSFER] = "Transfer(address,address,uint256)",
};

struct word evm_topic(enum evm_kind kind)
{
    return abi_topic(signatures[kind]);
}

/* topics[0] is the event; the indexed arguments follow. */
#define TOPICS_MAX 4

struct raw_log {
    uint8_t address[20];
    struct word topics[TOPICS_MAX];
    size_t topic_count;
    uint8_t data[64];
    size_t data_len;
};

static int raw_read(const json_t *json, struct raw_log *out, struct err *err)
{
    const char *address = json_string_value(json_object_get(json, "address"));
    if (address == NULL || hex_decode(address, out->address, sizeof(out->address)) != 0)
        return err_set(err, "log.address: not an address");
    const json_t *topics = json_object_get(json, "topics");
    out->topic_count = json_array_size(topics);
    if (out->topic_count == 0 || out->topic_count > TOPICS_MAX)
        return err_set(err, "log.topics: not 1 to %d topics", TOPICS_MAX);
    for (size_t i = 0; i < out->topic_count; i++) {
        if (word_of(json_array_get(topics, i), &out->topics[i]) != 0)
            return err_set(err, "log.topics: not 32 bytes of hex");
    }
    const char *data = json_string_value(json_object_get(json, "data"));
    if (data == NULL || hex_decode_any(data, out->data, sizeof(out->data), &out->data_len) != 0)
        return err_set(err, "log.data: not at most 64 bytes of hex");
    return 0;
}

static int place_read(const json_t *json, struct evm_event *out, struct err *err)
{
    if (evm_quantity(json_object_get(json, "blockNumber"), &out->block) != 0)
        return err_set(err, "log.blockNumber: not a quantity");
    if (evm_quantity(json_object_get(json, "logIndex"), &out->log_index) != 0 ||
        out->log_index > INT32_MAX)
        return err_set(err, "log.logIndex: not a quantity of 31 bits");
    if (evm_hash(json_object_get(json, "blockHash"), out->block_hash) != 0)
        return err_set(err, "log.blockHash: not 32 bytes of hex");
    if (evm_hash(json_object_get(json, "transactionHash"), out->tx_hash) != 0)
        return err_set(err, "log.transactionHash: not 32 bytes of hex");
    return 0;
}

static bool has_form(const struct raw_log *raw, size_t topics, size_t words)
{
    return raw->topic_count == topics && raw->data_len == words * 32;
}

static struct word data_word(const struct raw_log *raw, size_t index)
{
    struct word word;
    memcpy(word.b, raw->data + index * 32, 32);
    return word;
}

static int seq_read(const struct raw_log *raw, uint16_t *out)
{
    struct word word = data_word(raw, 0);
    uint64_t value;
    if (word_to_u64(&word, &value) != 0 || value > UINT16_MAX)
        return -1;
    *out = (uint16_t)value;
    return 0;
}

static int slot_read(const struct raw_log *raw, struct evm_event *out)
{
    out->service_id = raw->topics[2];
    return word_to_address(&raw->topics[1], out->subscriber);
}

static int paid_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    if (!has_form(raw, 4, 2) || slot_read(raw, out) != 0 ||
        word_to_address(&raw->topics[3], out->token) != 0)
        return err_set(err, "log of Paid: malformed");
    out->terms = data_word(raw, 0);
    out->amount = data_word(raw, 1);
    return 0;
}

static int revoked_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    uint64_t flag = 2;
    struct word word = data_word(raw, 1);
    if (!has_form(raw, 3, 2) || slot_read(raw, out) != 0 || seq_read(raw, &out->seq) != 0 ||
        word_to_u64(&word, &flag) != 0 || flag > 1)
        return err_set(err, "log of Revoked: malformed, or seq or flag out of range");
    out->revoked = flag == 1;
    return 0;
}

static int refunded_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    if (!has_form(raw, 4, 2) || slot_read(raw, out) != 0 || seq_read(raw, &out->seq) != 0 ||
        word_to_address(&raw->topics[3], out->token) != 0)
        return err_set(err, "log of Refunded: malformed, or seq out of range");
    out->amount = data_word(raw, 1);
    return 0;
}

static int transfer_refunded_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    if (!has_form(raw, 4, 1) || word_to_address(&raw->topics[2], out->token) != 0 ||
        word_to_address(&raw->topics[3], out->account) != 0)
        return err_set(err, "log of TransferRefunded: malformed");
    out->transfer_id = raw->topics[1];
    out->amount = data_word(raw, 0);
    return 0;
}

static int topped_up_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    if (!has_form(raw, 3, 1) || word_to_address(&raw->topics[1], out->token) != 0 ||
        word_to_address(&raw->topics[2], out->account) != 0)
        return err_set(err, "log of ToppedUp: malformed");
    out->amount = data_word(raw, 0);
    return 0;
}

static int signer_changed_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    if (!has_form(raw, 3, 1) || word_to_address(&raw->topics[1], out->account) != 0)
        return err_set(err, "log of SignerChanged: malformed");
    return 0;
}

static int transfer_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    if (!has_form(raw, 3, 1) || word_to_address(&raw->topics[1], out->account) != 0)
        return err_set(err, "log of Transfer: malformed");
    memcpy(out->token, raw->address, 20);
    out->amount = data_word(raw, 0);
    return 0;
}

static int event_fill(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    switch (out->kind) {
    case EVM_PAID:
        return paid_read(raw, out, err);
    case EVM_REVOKED:
        return revoked_read(raw, out, err);
    case EVM_REFUNDED:
        return refunded_read(raw, out, err);
    case EVM_TRANSFER_REFUNDED:
        return transfer_refunded_read(raw, out, err);
    case EVM_TOPPED_UP:
        return topped_up_read(raw, out, err);
    case EVM_SIGNER_CHANGED:
        return signer_changed_read(raw, out, err);
    case EVM_TRANSFER:
        return transfer_read(raw, out, err);
    }
    return -1;
}

/* What one question may be answered with. */
struct wanted {
    const uint8_t *contract;
    const uint8_t (*tokens)[20]; /* NULL: our contract's own events */
    size_t token_count;
    struct word topics[EVM_TRANSFER + 1];
};

static int own_kind(const struct raw_log *raw, const struct wanted *wanted, struct evm_event *out,
                    struct err *err)
{
    if (memcmp(raw->address, wanted->contract, 20) != 0)
        return err_set(err, "log.address: another contract than the one asked for");
    for (int kind = 0; kind < EVM_OWN_KINDS; kind++) {
        if (memcmp(&raw->topics[0], &wanted->topics[kind], 32) == 0) {
            out->kind = (enum evm_kind)kind;
            return 0;
        }
    }
    return err_set(err, "log: another event than those asked for");
}

static int transfer_kind(const struct raw_log *raw, const struct wanted *wanted,
                         struct evm_event *out, struct err *err)
{
    uint8_t to[20];
    bool listed = false;
    for (size_t i = 0; i < wanted->token_count && !listed; i++)
        listed = memcmp(raw->address, wanted->tokens[i], 20) == 0;
    if (!listed)
        return err_set(err, "log.address: none of the tokens asked for");
    if (memcmp(&raw->topics[0], &wanted->topics[EVM_TRANSFER], 32) != 0 || raw->topic_count < 3)
        return err_set(err, "log: another event than those asked for");
    if (word_to_address(&raw->topics[2], to) != 0 || memcmp(to, wanted->contract, 20) != 0)
        return err_set(err, "log of Transfer: to another receiver than the one asked for");
    out->kind = EVM_TRANSFER;
    return 0;
}

static int event_read(const json_t *json, const struct wanted *wanted, struct evm_event *out,
                      struct err *err)
{
    struct raw_log raw = {0};
    *out = (struct evm_event){0};
    if (!json_is_object(json))
        return err_set(err, "log: not an object");
    if (raw_read(json, &raw, err) != 0 || place_read(json, out, err) != 0)
        return -1;
    int rc = wanted->tokens == NULL ? own_kind(&raw, wanted, out, err)
                                    : transfer_kind(&raw, wanted, out, err);
    return rc == 0 ? event_fill(&raw, out, err) : -1;
}

static int by_place(const void *left, const void *right)
{
    const struct evm_event *a = left, *b = right;
    if (a->block != b->block)
        return a->block < b->block ? -1 : 1;
    return (a->log_index > b->log_index) - (a->log_index < b->log_index);
}

int evm_events_order(struct evm_events *events, struct err *err)
{
    if (events->count == 0)
        return 0;
    qsort(events->items, events->count, sizeof(*events->items), by_place);
    for (size_t i = 1; i < events->count; i++) {
        if (by_place(&events->items[i - 1], &events->items[i]) == 0)
            return err_set(err, "logs: the same place twice");
    }
    return 0;
}

static int logs_parse(const json_t *json, struct wanted *wanted, size_t max, struct evm_events *out,
                      struct err *err)
{
    *out = (struct evm_events){0};
    if (!json_is_array(json))
        return err_set(err, "logs: not an array");
    size_t count = json_array_size(json);
    if (count > max)
        return err_set(err, "logs: %zu, more than %zu", count, max);
    if (count == 0)
        return 0;
    for (int kind = 0; kind <= EVM_TRANSFER; kind++)
        wanted->topics[kind] = evm_topic((enum evm_kind)kind);
    AUTO_EVM_EVENTS struct evm_events events = {mem_array(count, sizeof(*events.items)), count};
    for (size_t i = 0; i < count; i++) {
        if (event_read(json_array_get(json, i), wanted, &events.items[i], err) != 0)
            return -1;
    }
    if (evm_events_order(&events, err) != 0)
        return -1;
    *out = events;
    events = (struct evm_events){0};
    return 0;
}

int evm_events_parse(const json_t *json, const uint8_t contract[20], size_t max,
                     struct evm_events *out, struct err *err)
{
    struct wanted wanted = {.contract = contract};
    return logs_parse(json, &wanted, max, out, err);
}

int evm_transfers_parse(const json_t *json, const uint8_t contract[20], const uint8_t (*tokens)[20],
                        size_t token_count, size_t max, struct evm_events *out, struct err *err)
{
    struct wanted wanted = {.contract = contract, .tokens = tokens, .token_count = token_count};
    return logs_parse(json, &wanted, max, out, err);
}
