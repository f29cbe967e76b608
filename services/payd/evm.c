/* Reads blocks and event logs out of a node's JSON. A node may lie or be broken: every field is
 * checked for its exact form, and nothing is taken from a log but what its topics and data say.
 * `removed` is not looked at: nodes differ about it, block hashes do not. */
#include "services/payd/evm.h"

#include "libcommon/eth/hex.h"
#include "libcommon/proto/quote.h"

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
    if (evm_quantity(json_object_get(json, "timestamp"), &out->time) != 0)
        return err_set(err, "block.timestamp: not a quantity");
    if (evm_hash(json_object_get(json, "hash"), out->hash) != 0)
        return err_set(err, "block.hash: not 32 bytes of hex");
    if (evm_hash(json_object_get(json, "parentHash"), out->parent) != 0)
        return err_set(err, "block.parentHash: not 32 bytes of hex");
    return 0;
}

struct word evm_topic(enum evm_kind kind)
{
    return abi_topic(kind == EVM_PAID ? QUOTE_EVENT_PAID : QUOTE_EVENT_REVOKED);
}

/* topics[0] is the event; the indexed arguments follow. */
#define TOPICS_MAX 4

struct raw_log {
    struct word topics[TOPICS_MAX];
    size_t topic_count;
    uint8_t data[64];
    size_t data_len;
};

static int raw_read(const json_t *json, const uint8_t contract[20], struct raw_log *out,
                    struct err *err)
{
    const char *address = json_string_value(json_object_get(json, "address"));
    uint8_t from[20];
    if (address == NULL || hex_decode(address, from, sizeof(from)) != 0)
        return err_set(err, "log.address: not an address");
    if (memcmp(from, contract, sizeof(from)) != 0)
        return err_set(err, "log.address: another contract than the one asked for");
    const json_t *topics = json_object_get(json, "topics");
    out->topic_count = json_array_size(topics);
    if (out->topic_count == 0 || out->topic_count > TOPICS_MAX)
        return err_set(err, "log.topics: not 1 to %d topics", TOPICS_MAX);
    for (size_t i = 0; i < out->topic_count; i++) {
        if (word_of(json_array_get(topics, i), &out->topics[i]) != 0)
            return err_set(err, "log.topics: not 32 bytes of hex");
    }
    const char *data = json_string_value(json_object_get(json, "data"));
    if (data == NULL || hex_decode_any(data, out->data, sizeof(out->data), &out->data_len) != 0 ||
        out->data_len != sizeof(out->data))
        return err_set(err, "log.data: not 64 bytes of hex");
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

static int paid_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    if (raw->topic_count != 4 || word_to_address(&raw->topics[3], out->token) != 0)
        return err_set(err, "log of Paid: token is not an address");
    out->kind = EVM_PAID;
    memcpy(out->terms.b, raw->data, 32);
    memcpy(out->amount.b, raw->data + 32, 32);
    return 0;
}

static int revoked_read(const struct raw_log *raw, struct evm_event *out, struct err *err)
{
    struct word seq, flag;
    uint64_t seq_value, flag_value;
    memcpy(seq.b, raw->data, 32);
    memcpy(flag.b, raw->data + 32, 32);
    if (raw->topic_count != 3 || word_to_u64(&seq, &seq_value) != 0 || seq_value > UINT16_MAX ||
        word_to_u64(&flag, &flag_value) != 0 || flag_value > 1)
        return err_set(err, "log of Revoked: seq or flag out of range");
    out->kind = EVM_REVOKED;
    out->seq = (uint16_t)seq_value;
    out->revoked = flag_value == 1;
    return 0;
}

static int event_read(const json_t *json, const uint8_t contract[20], const struct word topics[2],
                      struct evm_event *out, struct err *err)
{
    struct raw_log raw;
    *out = (struct evm_event){0};
    if (!json_is_object(json))
        return err_set(err, "log: not an object");
    if (raw_read(json, contract, &raw, err) != 0 || place_read(json, out, err) != 0)
        return -1;
    if (raw.topic_count < 3 || word_to_address(&raw.topics[1], out->subscriber) != 0)
        return err_set(err, "log: subscriber is not an address");
    out->service_id = raw.topics[2];
    if (memcmp(&raw.topics[0], &topics[EVM_PAID], 32) == 0)
        return paid_read(&raw, out, err);
    if (memcmp(&raw.topics[0], &topics[EVM_REVOKED], 32) == 0)
        return revoked_read(&raw, out, err);
    return err_set(err, "log: another event than those asked for");
}

static int by_place(const void *left, const void *right)
{
    const struct evm_event *a = left, *b = right;
    if (a->block != b->block)
        return a->block < b->block ? -1 : 1;
    return (a->log_index > b->log_index) - (a->log_index < b->log_index);
}

int evm_events_parse(const json_t *json, const uint8_t contract[20], size_t max,
                     struct evm_events *out, struct err *err)
{
    *out = (struct evm_events){0};
    if (!json_is_array(json))
        return err_set(err, "logs: not an array");
    size_t count = json_array_size(json);
    if (count > max)
        return err_set(err, "logs: %zu, more than %zu", count, max);
    if (count == 0)
        return 0;
    AUTO_EVM_EVENTS struct evm_events events = {mem_array(count, sizeof(*events.items)), count};
    const struct word topics[2] = {evm_topic(EVM_PAID), evm_topic(EVM_REVOKED)};
    for (size_t i = 0; i < count; i++) {
        if (event_read(json_array_get(json, i), contract, topics, &events.items[i], err) != 0)
            return -1;
    }
    qsort(events.items, count, sizeof(*events.items), by_place);
    for (size_t i = 1; i < count; i++) {
        if (by_place(&events.items[i - 1], &events.items[i]) == 0)
            return err_set(err, "logs: the same place twice");
    }
    *out = events;
    events = (struct evm_events){0};
    return 0;
}
