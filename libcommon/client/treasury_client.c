/* Calls to payd on an operator's behalf. The answer is handed on as it came: nobody between the
 * wallet and the operator has anything to add to it. */
#include "libcommon/client/treasury_client.h"

#include "libcommon/proto/wire.h"

#include <string.h>

static int ask(struct bus *bus, const char *subject, const char *body, const char *member,
               int64_t timeout_ms, json_t **out, struct err *err)
{
    AUTO_FREE char *reply = NULL;
    AUTO_JSON json_t *answer = NULL;
    const char *const members[] = {member, NULL};
    const json_t *object;
    size_t len;
    *out = NULL;
    if (bus_request(bus, subject, body, strlen(body), timeout_ms, &reply, &len, err) != 0 ||
        wire_reply_json(reply, len, &answer, err) != 0)
        return -1;
    if (json_only(answer, members, err) != 0 || json_get_object(answer, member, &object, err) != 0)
        return err_wrap(err, "reply");
    *out = MEM_STEAL(answer);
    return 0;
}

int treasury_client_refund(struct bus *bus, const struct treasury_refund *request,
                           int64_t timeout_ms, json_t **out, struct err *err)
{
    AUTO_FREE char *body = treasury_refund_encode(request);
    return ask(bus, TREASURY_SUBJECT_REFUND, body, "refund", timeout_ms, out, err);
}

int treasury_client_refund_transfer(struct bus *bus, const struct treasury_refund *request,
                                    int64_t timeout_ms, json_t **out, struct err *err)
{
    AUTO_FREE char *body = treasury_transfer_encode(request);
    return ask(bus, TREASURY_SUBJECT_REFUND_TRANSFER, body, "refund", timeout_ms, out, err);
}

int treasury_client_withdraw(struct bus *bus, const struct treasury_withdraw *request,
                             int64_t timeout_ms, json_t **out, struct err *err)
{
    AUTO_FREE char *body = treasury_withdraw_encode(request);
    return ask(bus, TREASURY_SUBJECT_WITHDRAW, body, "withdrawal", timeout_ms, out, err);
}
