/* Addresses of a Redis server: what is taken, and that a refusal never repeats a secret. */
#include "vectors.h"

#include "libcommon/mem.h"
#include "libcommon/redis_url.h"

static void same(const char *got, const char *want)
{
    if (want == NULL)
        assert_null(got);
    else
        assert_string_equal(got, want);
}

static void takes(void **state)
{
    (void)state;

    static const struct {
        const char *text, *host, *path, *user, *password;
        int port, db;
    } cases[] = {
        {"redis://localhost", "localhost", NULL, NULL, NULL, 6379, 0},
        {"redis://10.0.0.1:7000/3", "10.0.0.1", NULL, NULL, NULL, 7000, 3},
        {"redis://h/", "h", NULL, NULL, NULL, 6379, 0},
        {"redis://[::1]:7000", "::1", NULL, NULL, NULL, 7000, 0},
        {"redis://:secret@h", "h", NULL, NULL, "secret", 6379, 0},
        {"redis://u:p%40%2F%25@h:1/9999", "h", NULL, "u", "p@/%", 1, 9999},
        {"redis://u:a@b@h", "h", NULL, "u", "a@b", 6379, 0},
        {"unix:///run/redis.sock", NULL, "/run/redis.sock", NULL, NULL, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct redis_url *url = NULL;
        struct err err;
        if (redis_url_parse(cases[i].text, &url, &err) != 0)
            fail_msg("%s: %s", cases[i].text, err.msg);
        same(url->host, cases[i].host);
        same(url->path, cases[i].path);
        same(url->user, cases[i].user);
        same(url->password, cases[i].password);
        assert_int_equal(url->port, cases[i].port);
        assert_int_equal(url->db, cases[i].db);
        redis_url_free(&url);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "redis:",
        "redis://",
        "http://secret@h",
        "rediss://u:secret@h",
        "redis://secret@h",
        "redis://u:@h",
        "redis://u:secret@",
        "redis://u:secret@h:0",
        "redis://u:secret@h:65536",
        "redis://u:secret@h:port",
        "redis://u:secret@h:",
        "redis://u:secret@h/x",
        "redis://u:secret@h/10000",
        "redis://u:secret@h/1/2",
        "redis://u:secret%@h",
        "redis://u:secret%0@h",
        "redis://u:secret%00@h",
        "redis://u:secret%zz@h",
        "redis://u:sec/ret@h",
        "redis://u:secret@[::1",
        "redis://u:secret@[]:1",
        "redis://u:secret@[::1]x",
        "unix:///",
        "unix://secret",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct redis_url *url = NULL;
        struct err err;
        if (redis_url_parse(cases[i], &url, &err) != -1)
            fail_msg("%s was taken", cases[i]);
        assert_null(url);
        assert_null(strstr(err.msg, "secret"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
