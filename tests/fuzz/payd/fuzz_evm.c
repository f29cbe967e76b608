/* Any JSON as the logs of our contract and as transfers of a token to it: whatever is read is in
 * order, of the kinds asked for, and can be matched. */
#include "services/payd/evm.h"
#include "services/payd/transfer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct evm_events *events, bool transfers)
{
    AUTO_FREE struct transfer_mark *marks = mem_array(events->count + 1, sizeof(*marks));
    for (size_t i = 0; i < events->count; i++) {
        if ((events->items[i].kind == EVM_TRANSFER) != transfers ||
            (i > 0 && events->items[i].block < events->items[i - 1].block))
            abort();
    }
    transfer_match(events, marks);
    for (size_t i = 0; i < events->count; i++) {
        if (marks[i].unmatched != transfers)
            abort(); /* no payment stands among transfers alone */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t contract[20] = {[19] = 0xc0}, tokens[2][20] = {{[19] = 0xaa}};
    AUTO_JSON json_t *json = NULL;
    AUTO_EVM_EVENTS struct evm_events own = {0};
    AUTO_EVM_EVENTS struct evm_events transfers = {0};
    struct err err;
    const void *text = data;
    if (json_parse(text, size, &json, &err) != 0)
        return 0;
    if (evm_events_parse(json, contract, 100, &own, &err) == 0)
        check(&own, false);
    if (evm_transfers_parse(json, contract, tokens, 2, 100, &transfers, &err) == 0)
        check(&transfers, true);
    evm_events_append(&own, &transfers);
    if (evm_events_order(&own, &err) == 0 && own.count > 200)
        abort();
    return 0;
}
