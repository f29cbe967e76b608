/* Calls to subd: encode, ask, decode. */
#include "libcommon/client/sub_client.h"

#include "libcommon/proto/wire.h"

#include <string.h>

static int ask(struct bus *bus, const char *subject, const char *body, int64_t timeout_ms,
               char **reply, size_t *len, struct err *err)
{
    return bus_request(bus, subject, body, strlen(body), timeout_ms, reply, len, err);
}

int sub_client_check(struct bus *bus, const char *const *ids, size_t count, int64_t timeout_ms,
                     int64_t *head, struct sub_record **records, size_t *record_count,
                     struct err *err)
{
    AUTO_FREE char *body = sub_check_encode(ids, count);
    AUTO_FREE char *reply = NULL;
    size_t len;
    if (ask(bus, SUB_SUBJECT_CHECK, body, timeout_ms, &reply, &len, err) != 0)
        return -1;
    return sub_check_reply_decode(reply, len, head, records, record_count, err);
}

int sub_client_lease(struct bus *bus, const struct lease_request *request, int64_t timeout_ms,
                     struct lease_reply *reply, struct err *err)
{
    AUTO_FREE char *body = lease_request_encode(request);
    AUTO_FREE char *text = NULL;
    size_t len;
    if (ask(bus, SUB_SUBJECT_LEASE, body, timeout_ms, &text, &len, err) != 0)
        return -1;
    return lease_reply_decode(text, len, reply, err);
}

int sub_client_keys(struct bus *bus, int64_t timeout_ms, json_t **out, struct err *err)
{
    AUTO_FREE char *reply = NULL;
    AUTO_JSON json_t *set = NULL;
    const json_t *keys;
    size_t len;
    if (ask(bus, SUB_SUBJECT_KEYS, "{}", timeout_ms, &reply, &len, err) != 0 ||
        wire_reply_json(reply, len, &set, err) != 0)
        return -1;
    if (json_get_array(set, "keys", 64, &keys, err) != 0)
        return err_wrap(err, "reply");
    *out = MEM_STEAL(set);
    return 0;
}

int sub_client_revoke(struct bus *bus, const char *subscription, const char *reason,
                      const char *actor, int64_t timeout_ms, struct sub_record *out,
                      struct err *err)
{
    AUTO_JSON json_t *request = json_pack("{s:s, s:s, s:s}", "subscription", subscription, "reason",
                                          reason, "actor", actor);
    AUTO_JSON json_t *answer = NULL;
    AUTO_FREE char *reply = NULL;
    static const char *const members[] = {"record", NULL};
    const json_t *record;
    size_t len;
    if (request == NULL)
        return err_set(err, "reason: must be UTF-8");
    AUTO_FREE char *body = json_text(request);
    if (ask(bus, SUB_SUBJECT_REVOKE, body, timeout_ms, &reply, &len, err) != 0 ||
        wire_reply_json(reply, len, &answer, err) != 0)
        return -1;
    if (json_only(answer, members, err) != 0 ||
        json_get_object(answer, "record", &record, err) != 0 ||
        sub_record_decode(record, out, err) != 0)
        return err_wrap(err, "reply");
    return 0;
}
