/* The page: what it says, that it keeps to its columns, and that no answer can steer the terminal.
 */
#include "tools/top/view.h"

#include "libcommon/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    struct err err = {{0}};

    if (json_parse(text, strlen(text), &json, &err) != 0)
        fail_msg("%s", err.msg);
    return json;
}

static const char status[] =
    "{\"process\":{\"service\":\"proxy\",\"version\":\"1.2\",\"pid\":7,\"uptime_s\":93784,"
    "\"draining\":false,\"stuck\":true},\"limits\":{\"connections\":{\"now\":5,\"limit\":50},"
    "\"in_flight\":{\"now\":3,\"limit\":10}},\"workers\":[{\"index\":0,\"stuck\":false,"
    "\"turns\":300,\"lag_ms\":1.5,\"in_flight\":3,\"connections\":{\"http1\":4,\"http2\":1,"
    "\"websocket\":2,\"tcp\":0}},{\"index\":1,\"stuck\":true}],\"requests\":{\"in_flight\":3,"
    "\"by_room\":{\"balance\":1,\"upstream\":2},\"oldest\":[{\"id\":\"x\",\"method\":\"GET\","
    "\"route\":\"/v1\",\"room\":\"upstream\",\"age_ms\":61500,\"backend\":\"127.0.0.1:9001\","
    "\"bytes_in\":0,\"bytes_out\":2097152}]},\"pools\":[{\"name\":\"api\",\"waiting\":4,"
    "\"backends\":[{\"address\":\"a:1\",\"health\":\"up\",\"breaker\":\"closed\",\"ejected\":false,"
    "\"in_flight\":2,\"idle\":9,\"weight\":1},{\"address\":\"b:1\",\"health\":\"down\"},"
    "{\"address\":\"c:1\",\"health\":\"up\",\"breaker\":\"open\"},{\"address\":\"d:1\","
    "\"health\":\"up\",\"ejected\":true}]}],\"routes\":[{\"name\":\"/v1\",\"requests\":1000,"
    "\"errors\":10}]}";

static void expect(const struct buf *page, const char *text)
{
    if (strstr(page->data, text) == NULL)
        fail_msg("there is no \"%s\" in\n%s", text, page->data);
}

static void test_page(void **state)
{
    AUTO_JSON json_t *now = parse(status);
    AUTO_JSON json_t *before = parse(status);
    AUTO_BUF struct buf page = {0};
    struct err err = {{0}};
    struct view view = {.now = now, .before = before, .seconds = 2};

    (void)state;
    json_t *route = json_array_get(json_object_get(before, "routes"), 0);
    json_object_set_new(route, "requests", json_integer(500));
    json_object_set_new(route, "errors", json_integer(9));
    assert_int_equal(view_draw(&view, &page, &err), 0);
    expect(&page, "octroi proxy 1.2   pid 7   up 1d 02:03:04   A LOOP IS STUCK");
    expect(&page, "requests      250.0/s   5xx      0.5/s   in flight 3 of 10");
    expect(&page, "rooms    balance 1 upstream 2\n");
    expect(&page, "1        STUCK\n");
    expect(&page, "a:1                          up                 2      9      1\n");
    expect(&page, "b:1                          DOWN");
    expect(&page, "c:1                          OPEN");
    expect(&page, "d:1                          EJECTED");
    expect(&page, "api              4 requests wait for a place\n");
    expect(&page,
           "     61.5s GET     /v1                    upstream  127.0.0.1:9001           2.0");
    expect(&page, "/v1                                           250.0       0.5           1000\n");
}

static void check_bytes(const struct buf *page)
{
    size_t column = 0;

    for (size_t i = 0; i < page->len; i++) {
        char c = page->data[i];
        column = c == '\n' ? 0 : column + 1;
        assert_true(c == '\n' || (c >= 0x20 && c < 0x7f));
        assert_true(column <= VIEW_COLUMNS);
    }
}

/* Every text of an answer, one after another, is replaced by something that a terminal obeys. */
static void poison(json_t *json, const char *evil)
{
    const char *key;
    json_t *value;
    void *next;

    for (size_t i = 0; i < json_array_size(json); i++)
        poison(json_array_get(json, i), evil);
    json_object_foreach_safe(json, next, key, value)
    {
        if (json_is_string(value))
            json_object_set_new(json, key, json_stringn_nocheck(evil, strlen(evil)));
        else
            poison(value, evil);
    }
}

static void test_hostile_texts(void **state)
{
    static const char *const evils[] = {
        "\x1b[2J\x1b]0;title\x07",
        "\xc2\x9b"
        "31m",
        "\r\n\t\b\x7f",
        "a\xe2\x80\xae"
        "b",
        "0123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901234567890123456789012345678901234567890123456789",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(evils); i++) {
        AUTO_JSON json_t *now = parse(status);
        AUTO_BUF struct buf page = {0};
        struct err err = {{0}};
        poison(now, evils[i]);
        json_object_set_new_nocheck(json_object_get(json_object_get(now, "requests"), "by_room"),
                                    evils[i], json_integer(1));
        assert_int_equal(view_draw(&(struct view){.now = now}, &page, &err), 0);
        check_bytes(&page);
    }
}

static void test_odd_answers(void **state)
{
    static const char *const texts[] = {
        "{\"process\":{}}",
        "{\"process\":{\"uptime_s\":-1,\"pid\":1e300}}",
        "{\"process\":{\"uptime_s\":\"x\"},\"workers\":{},\"pools\":[1,null,[]],\"routes\":\"\","
        "\"requests\":[],\"limits\":7}",
        "{\"process\":{},\"workers\":[{\"turns\":1e308}],\"requests\":{\"by_room\":{\"a\":\"b\"},"
        "\"oldest\":[{},{\"age_ms\":-5}]}}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_JSON json_t *now = parse(texts[i]);
        AUTO_BUF struct buf page = {0};
        struct err err = {{0}};
        assert_int_equal(view_draw(&(struct view){.now = now}, &page, &err), 0);
        check_bytes(&page);
    }
    AUTO_JSON json_t *other = parse("{\"status\":\"ok\"}");
    AUTO_BUF struct buf page = {0};
    struct err err = {{0}};
    assert_int_equal(view_draw(&(struct view){.now = other}, &page, &err), -1);
}

static void test_rows(void **state)
{
    AUTO_JSON json_t *now = parse(status);
    struct err err = {{0}};

    (void)state;
    for (unsigned rows = 1; rows < 30; rows++) {
        AUTO_BUF struct buf page = {0};
        unsigned lines = 0;
        assert_int_equal(view_draw(&(struct view){.now = now, .rows = rows}, &page, &err), 0);
        for (size_t i = 0; i < page.len; i++)
            lines += page.data[i] == '\n';
        assert_true(lines <= rows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_odd_answers),
        cmocka_unit_test(test_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
