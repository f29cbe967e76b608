/* Events as rows and as CloudEvents. What makes a row impossible is refused here, before it is part
 * of a transaction about money: the table's own checks would only fail the whole of it. */
#include "services/payd/events.h"

#include <string.h>

static const struct pg_stmt put_stmt = {
    "event_put",
    "INSERT INTO event_outbox (follower, type, subject, data) VALUES ($1, $2, $3, $4::jsonb)"};

static bool type_valid(const char *type)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    size_t kind = strspn(type, letters);
    if (kind == 0 || kind > 32 || type[kind] != '.')
        return false;
    size_t what = strspn(type + kind + 1, "abcdefghijklmnopqrstuvwxyz-");
    return what > 0 && what <= 32 && type[kind + 1 + what] == '\0';
}

int event_put(struct pg_conn *conn, int64_t follower, const char *type, const char *subject,
              json_t *data, struct err *err)
{
    AUTO_JSON json_t *taken = data;
    if (!type_valid(type))
        return err_set(err, "event: %.64s is no type", type);
    if (subject[0] == '\0' || strlen(subject) > 200)
        return err_set(err, "event %s: no subject, or one that is too long", type);
    AUTO_FREE char *text = taken == NULL ? mem_strdup("{}") : json_text(taken);
    if (strlen(text) > EVENTS_DATA_MAX)
        return err_set(err, "event %s: more than %d bytes of data", type, EVENTS_DATA_MAX);
    return pg_run(conn, &put_stmt, PG_PARAMS(pg_num(follower).s, type, subject, text), NULL, err);
}

int event_encode(const char *id, const char *source, const char *type, const char *subject,
                 const char *at, const char *data, char **out, struct err *err)
{
    json_t *object = NULL;
    if (json_parse(data, strlen(data), &object, err) != 0)
        return err_wrap(err, "event %s", id);
    AUTO_FREE char *full = mem_printf("octroi.%s", type);
    AUTO_JSON json_t *event =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "specversion", "1.0", "id", id,
                  "source", source, "type", full, "subject", subject, "time", at, "datacontenttype",
                  "application/json", "data", object);
    if (event == NULL)
        return err_set(err, "event %s: not UTF-8", id);
    *out = json_text(event);
    return 0;
}
