/* The operator's wallet. */
#include "services/payd/wallet.h"

bool wallet_configured(const struct payd *payd)
{
    const struct settings_wallet *wallet = &payd->settings->wallet;
    return wallet->keystore[0] != '\0' || wallet->mnemonic_file[0] != '\0';
}
