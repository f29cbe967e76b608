/* JetStream over plain requests to its documented API, instead of the library's own layer: so each
 * function needs exactly the subjects that its permissions name, and a consumer that vanished is
 * seen and made again. Subjects used: $JS.API.STREAM.{CREATE,INFO,UPDATE}.<stream>,
 * $JS.API.CONSUMER.DURABLE.CREATE.<stream>.<durable>, $JS.API.CONSUMER.MSG.NEXT.<stream>.<durable>
 * and $JS.ACK.<stream>.>. */
#include "libcommon/bus_internal.h"

#include "libcommon/json.h"

#include <inttypes.h>
#include <string.h>

#define NS_PER_MS     1000000
#define DUPLICATES_MS 120000
#define ATTEMPT_MS    2000
#define RETRY_MS      250
#define STREAM_EXISTS 10058 /* JSStreamNameExistErr: with another configuration */

/* An API call. -1 with the server's words; *code is its err_code, 0 where it was not reached. */
static int api(struct bus *bus, const char *verb, const char *name, const json_t *request,
               json_t **reply, int *code, struct err *err)
{
    AUTO_FREE char *subject = mem_printf("$JS.API.%s.%s", verb, name);
    AUTO_FREE char *body = request == NULL ? mem_strdup("") : json_text(request);
    AUTO_FREE char *answer = NULL;
    AUTO_JSON json_t *json = NULL;
    size_t len;
    *code = 0;
    if (bus_request(bus, subject, body, strlen(body), ATTEMPT_MS, &answer, &len, err) != 0)
        return -1;
    if (json_parse(answer, len, &json, err) != 0)
        return err_wrap(err, "nats: %s", subject);
    const json_t *error = json_object_get(json, "error");
    if (error != NULL) {
        const char *text = json_string_value(json_object_get(error, "description"));
        *code = (int)json_integer_value(json_object_get(error, "err_code"));
        return err_set(err, "nats: %s: %.200s", subject, text == NULL ? "refused" : text);
    }
    if (reply != NULL)
        *reply = MEM_STEAL(json);
    return 0;
}

static int64_t or_unbounded(int64_t n)
{
    return n == 0 ? -1 : n;
}

static json_t *subjects(const char *list)
{
    json_t *array = json_array();
    for (size_t len; *list != '\0'; list += len + strspn(list + len, " ")) {
        len = strcspn(list, " ");
        json_array_append_new(array, json_stringn(list, len));
    }
    return array;
}

static json_t *stream_config(const struct bus_stream *stream)
{
    int64_t duplicates = DUPLICATES_MS;
    bool drop_oldest = stream->drop_oldest || stream->max_per_subject > 0;
    if (stream->max_age_ms > 0 && stream->max_age_ms < duplicates)
        duplicates = stream->max_age_ms;
    return json_pack("{s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name", stream->name,
                     "subjects", subjects(stream->subject), "retention",
                     stream->work_queue ? "workqueue" : "limits", "storage", "file", "discard",
                     drop_oldest ? "old" : "new", "max_msgs_per_subject",
                     (json_int_t)or_unbounded(stream->max_per_subject), "max_msgs", (json_int_t)-1,
                     "max_bytes", (json_int_t)or_unbounded(stream->max_bytes), "max_age",
                     (json_int_t)(stream->max_age_ms * NS_PER_MS), "duplicate_window",
                     (json_int_t)(duplicates * NS_PER_MS));
}

/* Ours over what is there: replicas and placement are the operator's. */
static int update_stream(struct bus *bus, const char *name, json_t *wanted, struct err *err)
{
    AUTO_JSON json_t *info = NULL;
    int code;
    if (api(bus, "STREAM.INFO", name, NULL, &info, &code, err) != 0)
        return -1;
    json_t *config = json_object_get(info, "config");
    if (!json_is_object(config))
        return err_set(err, "nats: stream %s: its information is not understood", name);
    AUTO_JSON json_t *before = json_deep_copy(config);
    json_object_update(config, wanted);
    if (json_equal(before, config))
        return 0;
    return api(bus, "STREAM.UPDATE", name, config, NULL, &code, err);
}

static int ensure_once(struct bus *bus, const struct bus_stream *stream, int *code, struct err *err)
{
    AUTO_JSON json_t *config = stream_config(stream);
    if (api(bus, "STREAM.CREATE", stream->name, config, NULL, code, err) == 0)
        return 0;
    if (*code != STREAM_EXISTS)
        return -1;
    return update_stream(bus, stream->name, config, err);
}

int bus_stream_ensure(struct bus *bus, const struct bus_stream *stream, int64_t timeout_ms,
                      struct err *err)
{
    int64_t deadline = bus_now_ms() + timeout_ms;
    int code = 0;
    for (;;) {
        if (!bus_wait_connected(bus, deadline))
            return err_set(err, "nats: not connected");
        if (ensure_once(bus, stream, &code, err) == 0)
            return 0;
        /* Without a code the server did not answer: it is starting, perhaps. */
        if (code != 0 || bus_now_ms() + RETRY_MS >= deadline)
            return err_wrap(err, "stream %s", stream->name);
        pthread_mutex_lock(&bus->lock);
        bus_wait(bus, bus_now_ms() + RETRY_MS);
        pthread_mutex_unlock(&bus->lock);
    }
}

int bus_stream_publish(struct bus *bus, const char *subject, const char *id, const void *data,
                       size_t len, int64_t timeout_ms, struct err *err)
{
    AUTO_FREE char *reply = NULL;
    AUTO_JSON json_t *ack = NULL;
    size_t reply_len;
    if (bus_request_id(bus, subject, id, data, len, timeout_ms, &reply, &reply_len, err) != 0)
        return -1;
    if (json_parse(reply, reply_len, &ack, err) != 0)
        return err_wrap(err, "nats: %s: acknowledgement", subject);
    const json_t *error = json_object_get(ack, "error");
    if (error != NULL) {
        const char *text = json_string_value(json_object_get(error, "description"));
        return err_set(err, "nats: %s: %.200s", subject, text == NULL ? "refused" : text);
    }
    if (!json_is_integer(json_object_get(ack, "seq")))
        return err_set(err, "nats: %s: no stream acknowledged", subject);
    return 0;
}

int bus_consumer_ensure(struct bus *bus, const char *stream, const char *durable,
                        int64_t ack_wait_ms, struct err *err)
{
    AUTO_FREE char *name = mem_printf("%s.%s", stream, durable);
    AUTO_JSON json_t *request =
        json_pack("{s:s, s:{s:s, s:s, s:s, s:s, s:I, s:i, s:i}}", "stream_name", stream, "config",
                  "durable_name", durable, "deliver_policy", "all", "ack_policy", "explicit",
                  "replay_policy", "instant", "ack_wait", (json_int_t)(ack_wait_ms * NS_PER_MS),
                  "max_deliver", -1, "max_ack_pending", 1000);
    int code;
    return api(bus, "CONSUMER.DURABLE.CREATE", name, request, NULL, &code, err);
}

static void answer_delivery(struct bus_msg *msg, const char *text)
{
    const char *reply = natsMsg_GetReply(msg->msg);
    struct err err;
    /* Lost acknowledgements are nobody's error: the message is delivered again. */
    if (reply != NULL && *reply != '\0' &&
        bus_publish(msg->bus, reply, text, strlen(text), &err) != 0)
        return;
}

/* $JS.ACK.[domain.account.]stream.consumer.deliveries. and four or more numbers (NATS ADR-15). */
int64_t bus_msg_deliveries(const struct bus_msg *msg)
{
    const char *reply = natsMsg_GetReply(msg->msg), *at = reply;
    size_t dots = 0;
    if (reply == NULL || strncmp(reply, "$JS.ACK.", 8) != 0)
        return 0;
    for (const char *c = reply; *c != '\0'; c++)
        dots += *c == '.' ? 1 : 0;
    for (size_t skip = dots > 8 ? 6 : 4; skip > 0 && at != NULL; skip--) {
        at = strchr(at, '.');
        at = at == NULL ? NULL : at + 1;
    }
    return at == NULL ? 0 : strtoll(at, NULL, 10);
}

void bus_msg_ack(struct bus_msg *msg)
{
    answer_delivery(msg, "+ACK");
}

void bus_msg_nak(struct bus_msg *msg, int64_t delay_ms)
{
    AUTO_FREE char *text = mem_printf("-NAK {\"delay\": %" PRId64 "}", delay_ms * NS_PER_MS);
    answer_delivery(msg, delay_ms > 0 ? text : "-NAK");
}
