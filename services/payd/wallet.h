/* The operator's wallet: works off the rows of wallet_job while this instance leads. One thread,
 * with RPC connections of its own; keys are the signer process's alone. */
#ifndef PAYD_WALLET_H
#define PAYD_WALLET_H

#include "services/payd/payd.h"

/* Whether there is a wallet at all: where not, nothing that needs one may be queued. */
bool wallet_configured(const struct payd *payd);

#endif
