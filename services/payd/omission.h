/* Signs that a node has a block and not its logs: the bloom of the header, which names everything
 * that happened in a block and sometimes more, and the receipts. Pure; every byte is hostile. */
#ifndef PAYD_OMISSION_H
#define PAYD_OMISSION_H

#include "libcommon/json.h"

/* Whether the header's logsBloom leaves it possible that `contract` has events in this block
 * (Yellow Paper 4.3.1). False where there is none, or one without any bit: some chains keep none.
 */
bool omission_possible(const json_t *block, const uint8_t contract[20]);
/* Whether receipts (eth_getBlockReceipts) hold an event of `contract` that payd reads. */
bool omission_receipts_hold(const json_t *receipts, const uint8_t contract[20]);

#endif
