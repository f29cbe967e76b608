/* What subd tells payd. quoted asks by itself (ask.c): it waits for two services at once. */
#include "libcommon/client/chain_client.h"

#include "libcommon/proto/wire.h"

#include <string.h>

int chain_client_activated(struct bus *bus, const struct payment_hint *hint, int64_t timeout_ms,
                           struct err *err)
{
    AUTO_FREE char *body = payment_hint_encode(hint);
    AUTO_FREE char *reply = NULL;
    AUTO_JSON json_t *answer = NULL;
    size_t len;
    bool ok = false;
    if (bus_request(bus, PAYMENT_SUBJECT_ACTIVATED, body, strlen(body), timeout_ms, &reply, &len,
                    err) != 0 ||
        wire_reply_json(reply, len, &answer, err) != 0)
        return -1;
    if (json_get_bool(answer, "ok", &ok, err) != 0 || !ok)
        return err_set(err, "reply: ok: must be true");
    return 0;
}
