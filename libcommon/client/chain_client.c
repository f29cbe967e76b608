/* Calls to payd: encode, ask, decode. */
#include "libcommon/client/chain_client.h"

#include "libcommon/proto/wire.h"

#include <string.h>

static int ask(struct bus *bus, const char *subject, const char *body, int64_t timeout_ms,
               char **reply, size_t *len, struct err *err)
{
    return bus_request(bus, subject, body, strlen(body), timeout_ms, reply, len, err);
}

int chain_client_slot(struct bus *bus, const struct payment_slot_request *request,
                      int64_t timeout_ms, struct payment_slot *out, struct err *err)
{
    AUTO_FREE char *body = payment_slot_request_encode(request);
    AUTO_FREE char *reply = NULL;
    size_t len;
    if (ask(bus, PAYMENT_SUBJECT_SLOT, body, timeout_ms, &reply, &len, err) != 0)
        return -1;
    return payment_slot_decode(reply, len, out, err);
}

int chain_client_status(struct bus *bus, int64_t timeout_ms, struct payment_chain_status *out,
                        struct err *err)
{
    AUTO_FREE char *reply = NULL;
    size_t len;
    if (ask(bus, PAYMENT_SUBJECT_STATUS, "{}", timeout_ms, &reply, &len, err) != 0)
        return -1;
    return payment_chain_status_decode(reply, len, out, err);
}

int chain_client_activated(struct bus *bus, const struct payment_hint *hint, int64_t timeout_ms,
                           struct err *err)
{
    AUTO_FREE char *body = payment_hint_encode(hint);
    AUTO_FREE char *reply = NULL;
    AUTO_JSON json_t *answer = NULL;
    size_t len;
    bool ok = false;
    if (ask(bus, PAYMENT_SUBJECT_ACTIVATED, body, timeout_ms, &reply, &len, err) != 0 ||
        wire_reply_json(reply, len, &answer, err) != 0)
        return -1;
    if (json_get_bool(answer, "ok", &ok, err) != 0 || !ok)
        return err_set(err, "reply: ok: must be true");
    return 0;
}
