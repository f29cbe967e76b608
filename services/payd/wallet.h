/* The operator's wallet: works off the rows of wallet_job while this instance leads. One thread,
 * with RPC connections of its own; the key is the signer process's alone. */
#ifndef PAYD_WALLET_H
#define PAYD_WALLET_H

#include "services/payd/payd.h"

struct wallet;

/* Whether there is a wallet at all: where not, nothing that needs one may be queued. */
bool wallet_configured(const struct payd *payd);

/* Before any other thread is started: the signer process is a child. *out is NULL where no wallet
 * is configured. -1: the key cannot be had. */
int wallet_open(struct payd *payd, struct wallet **out, struct err *err) MUST_USE;
/* Starts the thread; NULL is fine. */
void wallet_run(struct wallet *wallet);
/* payd_stop must have been called. Ends the signer too. */
void wallet_join(struct wallet **wallet);

#endif
