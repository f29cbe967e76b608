/* Usage batches, as tables. Members are written in the order of the table, always all of them: the
 * journal resends a batch byte-identical and subd compares its hash. */
#include "libcommon/proto/usage.h"

#include "libcommon/proto/wire.h"

#define TEXT_OF(type, m, n, check, words)                                                          \
    .kind = WIRE_TEXT, .offset = offsetof(type, m), .min = (n), .max = (n), .valid = (check),      \
    .rule = (words)
#define ENTRY(m, lo, hi)                                                                           \
    .kind = WIRE_INT, .offset = offsetof(struct usage_entry, m), .min = (lo), .max = (hi)
#define SPENT(m)  ENTRY(m, 0, WIRE_SPENT_MAX)
#define UNDONE(m) ENTRY(m, -WIRE_SPENT_MAX, WIRE_SPENT_MAX)

static const struct wire_field entry_fields[] = {
    {"sub", TEXT_OF(struct usage_entry, sub, SUB_ID_LEN, sub_id_valid,
                    "sub_ and 32 lower-case hex digits")},
    {"lease", ENTRY(lease, 1, INT64_MAX)},
    {"period", ENTRY(period, 0, WIRE_TIME_MAX)},
    {"day", TEXT_OF(struct usage_entry, day, 10, wire_is_day, "a day as 2026-11-21")},
    {"requests", UNDONE(requests)},
    {"bytes_in", SPENT(bytes_in)},
    {"bytes_out", SPENT(bytes_out)},
    {"messages", SPENT(messages)},
    {"events", SPENT(events)},
    {"cost", UNDONE(cost)},
    {"closed", .kind = WIRE_BOOL, .offset = offsetof(struct usage_entry, closed)},
};
WIRE_SHAPE(entry_shape, struct usage_entry, entry_fields);

static const struct wire_field batch_fields[] = {
    {"v", .kind = WIRE_CONST, .min = 1},
    {"journal", TEXT_OF(struct usage_batch, journal, LEASE_JOURNAL_LEN, lease_journal_valid,
                        "32 lower-case hex digits")},
    {"seq", .kind = WIRE_INT, .offset = offsetof(struct usage_batch, seq), .min = 1,
     .max = INT64_MAX},
    {"final", .kind = WIRE_BOOL, .offset = offsetof(struct usage_batch, final)},
    {"entries", .kind = WIRE_LIST, .offset = offsetof(struct usage_batch, entries),
     .count_offset = offsetof(struct usage_batch, count), .max = USAGE_ENTRIES_MAX,
     .shape = &entry_shape},
};
WIRE_SHAPE(batch_shape, struct usage_batch, batch_fields);

char *usage_batch_encode(const struct usage_batch *batch)
{
    return wire_text(&batch_shape, batch);
}

int usage_batch_decode(const char *text, size_t len, struct usage_batch *out, struct err *err)
{
    return wire_parse(&batch_shape, text, len, out, err);
}

void usage_batch_clear(struct usage_batch *batch)
{
    wire_clear(&batch_shape, batch);
}
