/* An operator's requests of hostile bytes: what is taken is written again as the same request. */
#include "libcommon/proto/treasury.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refund(const char *text, size_t size)
{
    struct treasury_refund request, again;
    struct err err;
    if (treasury_refund_decode(text, size, &request, &err) == 0) {
        AUTO_FREE char *out = treasury_refund_encode(&request);
        assert(treasury_id_valid(request.id, strlen(request.id)) &&
               request.cause.reason[0] != '\0');
        assert(treasury_refund_decode(out, strlen(out), &again, &err) == 0);
    }
    if (treasury_transfer_decode(text, size, &request, &err) == 0)
        free(treasury_transfer_encode(&request));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const void *bytes = data;
    struct treasury_withdraw withdraw;
    struct treasury_revoke revoke;
    struct err err;
    refund(bytes, size);
    if (treasury_withdraw_decode(bytes, size, &withdraw, &err) == 0) {
        assert(treasury_key_valid(withdraw.key, strlen(withdraw.key)));
        free(treasury_withdraw_encode(&withdraw));
    }
    if (treasury_revoke_decode(bytes, size, &revoke, &err) == 0)
        assert(revoke.cause.reason[0] != '\0');
    return 0;
}
