/* The wallet's thread and what an operator sees of it: whether it leads, what it waits for, and
 * that the signer is there. What it does stands in wallet_work.c. */
#include "services/payd/wallet.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "libcommon/secret_file.h"
#include "services/payd/gauges.h"
#include "services/payd/signer.h"
#include "services/payd/wallet_work.h"

#include <string.h>

#define AWAY_MS 1000

struct wallet {
    struct payd *payd;
    struct signer *signer;
    struct wallet_work *work;
    pthread_t thread;
    bool running;
    bool told; /* that it does not work */
};

bool wallet_configured(const struct payd *payd)
{
    const struct settings_wallet *wallet = &payd->settings->wallet;
    return wallet->keystore[0] != '\0' || wallet->mnemonic_file[0] != '\0';
}

int wallet_open(struct payd *payd, struct wallet **out, struct err *err)
{
    const struct settings_wallet *settings = &payd->settings->wallet;
    struct signer_options options = {.keystore = settings->keystore,
                                     .mnemonic_file = settings->mnemonic_file,
                                     .password_file = settings->password_file,
                                     .path = settings->path,
                                     .user = settings->user,
                                     .chain_id = payd->target.domain.chain_id,
                                     .max_fee = (uint64_t)settings->max_fee_per_gas,
                                     .max_priority_fee =
                                         (uint64_t)settings->max_priority_fee_per_gas,
                                     .max_gas = (uint64_t)settings->gas_limit,
                                     .budget = (uint64_t)settings->max_spend_per_hour};
    struct signer *signer = NULL;
    uint8_t address[20];
    char text[43];
    *out = NULL;
    if (!wallet_configured(payd))
        return 0;
    memcpy(options.contract, payd->target.domain.contract, 20);
    if (signer_start(&options, &signer, err) != 0)
        return err_wrap(err, "wallet");
    signer_address(signer, address);
    hex_address_format(address, text);
    secret_file_warn("wallet.keystore", settings->keystore);
    secret_file_warn("wallet.mnemonic_file", settings->mnemonic_file);
    secret_file_warn("wallet.password_file", settings->password_file);
    log_info("the wallet's address", LOG_STR(ADDRESS, text));
    struct wallet *wallet = *out = mem_zalloc(sizeof(*wallet));
    wallet->payd = payd;
    wallet->signer = signer;
    wallet->work = wallet_work_new(payd, signer);
    service_dependency(payd->service, "wallet", false, true, "does not lead");
    return 0;
}

static void show(struct wallet *wallet, bool leads)
{
    const char *detail = NULL;
    for (int i = 0; i < WALLET_WAITS; i++) {
        enum wallet_wait what = (enum wallet_wait)i;
        bool waits = leads && wallet_work_waits(wallet->work, what);
        const char *const name[] = {wallet_work_wait_name(what)};
        metric_set(metrics_cell(wallet->payd->metrics, GAUGES_WALLET_WAITING, name), waits);
        if (waits && detail == NULL)
            detail = wallet_work_wait_words(what);
    }
    if (!leads)
        service_dependency(wallet->payd->service, "wallet", false, true, "does not lead");
    else
        service_dependency(wallet->payd->service, "wallet", false, detail == NULL,
                           detail == NULL ? "ready" : detail);
}

static int64_t turn(struct wallet *wallet)
{
    struct err err = {{0}};
    struct payd *payd = wallet->payd;
    int64_t pause = payd->settings->wallet.poll_ms;
    int64_t epoch = atomic_load(&payd->epoch);
    if (epoch == 0) {
        (void)signer_tick(wallet->signer);
        show(wallet, false);
        return pause;
    }
    if (wallet_work_turn(wallet->work, epoch, &err) != 0) {
        wallet_work_set_wait(wallet->work, WALLET_WAIT_RPC);
        if (!wallet->told && !atomic_load(&payd->stop) && atomic_load(&payd->epoch) == epoch)
            log_warn("the wallet cannot work at the moment", LOG_STR(ERROR, err.msg));
        wallet->told = true;
        pause = AWAY_MS;
    } else {
        if (wallet->told)
            log_info("the wallet works again");
        wallet->told = false;
    }
    show(wallet, true);
    return pause;
}

static void *wallet_main(void *ctx)
{
    struct wallet *wallet = ctx;
    do {
        if (payd_sleep(wallet->payd, turn(wallet)))
            return NULL;
    } while (true);
}

void wallet_run(struct wallet *wallet)
{
    if (wallet == NULL)
        return;
    if (pthread_create(&wallet->thread, NULL, wallet_main, wallet) != 0)
        abort();
    wallet->running = true;
}

void wallet_join(struct wallet **wallet_ptr)
{
    struct wallet *wallet = *wallet_ptr;
    *wallet_ptr = NULL;
    if (wallet == NULL)
        return;
    if (wallet->running)
        pthread_join(wallet->thread, NULL);
    wallet_work_free(&wallet->work);
    signer_stop(&wallet->signer);
    free(wallet);
}
