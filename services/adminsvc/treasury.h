/* The handlers that deal with money: payments and transfers that paid nothing, as payd publishes
 * them, and what an operator asks of payd's wallet. */
#ifndef ADMINSVC_TREASURY_H
#define ADMINSVC_TREASURY_H

#include "services/adminsvc/call.h"

void treasury_payments(struct call *call);
void treasury_payment(struct call *call);
void treasury_refund_payment(struct call *call);
void treasury_transfers(struct call *call);
void treasury_refund_transfer(struct call *call);
void treasury_withdrawal(struct call *call);

#endif
