/* Log lines: what they look like, that they stay whole JSON whatever they are given, that secrets
 * never show, and that a reader who is too slow costs lines, not time. */
#include "libcommon/log.h"

#include "libcommon/buf.h"
#include "libcommon/json.h"
#include "libcommon/log_ring.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard error goes into a pipe between these two. */
static int real_stderr;
static int pipe_fds[2];

static void capture(void)
{
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(fcntl(pipe_fds[1], F_SETPIPE_SZ, 1 << 20) > 0, 1);
    dup2(pipe_fds[1], STDERR_FILENO);
    close(pipe_fds[1]);
}

/* What was written since capture(); the caller's. */
static char *captured(void)
{
    struct buf out = {0};
    char piece[4096];
    ssize_t n;

    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    while ((n = read(pipe_fds[0], piece, sizeof(piece))) > 0)
        buf_add(&out, piece, (size_t)n);
    close(pipe_fds[0]);
    return buf_steal(&out);
}

/* One line as JSON; the caller's. */
static json_t *parse_line(const char *line, size_t len)
{
    json_t *json = NULL;
    struct err err = {{0}};

    if (json_parse(line, len, &json, &err) != 0)
        fail_msg("%s: %.*s", err.msg, (int)len, line);
    return json;
}

static void test_fields(void **state)
{
    (void)state;
    log_init("svc", LOG_LEVEL_INFO);
    capture();
    log_info("hello \"you\"", LOG_STR(ADDRESS, "a\nb\xff\xc3\xa4"), LOG_STRN(PATH, "/x/y", 2),
             LOG_INT(COUNT, -5), LOG_UINT(SEQ, INT64_MAX), LOG_BOOL(STATUS, 1),
             LOG_FLOAT(DURATION_MS, 1.5), LOG_STR(ERROR, NULL), LOG_FLOAT(ATTEMPT, 1e300 * 1e300));
    AUTO_FREE char *text = captured();
    AUTO_JSON json_t *json = parse_line(text, strlen(text));
    assert_string_equal(strchr(text, '\n'), "\n");
    assert_int_equal(strlen(json_string_value(json_object_get(json, "ts"))), 24);
    assert_string_equal(json_string_value(json_object_get(json, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(json, "service")), "svc");
    assert_string_equal(json_string_value(json_object_get(json, "msg")), "hello \"you\"");
    assert_string_equal(json_string_value(json_object_get(json, "address")),
                        "a\nb\xef\xbf\xbd\xc3\xa4");
    assert_string_equal(json_string_value(json_object_get(json, "path")), "/x");
    assert_int_equal(json_integer_value(json_object_get(json, "count")), -5);
    assert_non_null(strstr(text, "\"seq\":9223372036854775807,"));
    assert_true(json_is_true(json_object_get(json, "status")));
    assert_true(json_real_value(json_object_get(json, "duration_ms")) == 1.5);
    assert_true(json_is_null(json_object_get(json, "error")));
    assert_true(json_is_null(json_object_get(json, "attempt")));
}

static void test_secrets(void **state)
{
    (void)state;
    capture();
    log_info("login", LOG_STR(TOKEN, "hunter2"), LOG_STR(PASSWORD, NULL), LOG_INT(TOKEN, 4711));
    AUTO_FREE char *text = captured();
    assert_non_null(strstr(text, "\"token\":\"[redacted]\",\"password\":\"[redacted]\""));
    assert_null(strstr(text, "hunter2"));
    assert_null(strstr(text, "4711"));
}

static void test_levels(void **state)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    enum log_level level;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(log_parse_level(names[i], &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_parse_level("loud", &level), -1);
    assert_int_equal(log_parse_level("INFO", &level), -1);
    log_set_level(LOG_LEVEL_WARN);
    capture();
    log_info("no");
    log_debug("no");
    log_warn("yes");
    log_error("yes");
    AUTO_FREE char *text = captured();
    log_set_level(LOG_LEVEL_INFO);
    assert_null(strstr(text, "\"no\""));
    assert_non_null(strstr(text, "\"level\":\"warn\""));
    assert_non_null(strstr(text, "\"level\":\"error\""));
}

/* Every length around the bound, of text that needs escapes and of text that does not. */
static void test_long_lines_stay_json(void **state)
{
    static const char fills[] = {'a', '"', '\n', '\xff'};
    char text[2 * LOG_LINE_MAX + 1];

    (void)state;
    for (size_t f = 0; f < sizeof(fills); f++) {
        memset(text, fills[f], sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        for (size_t len = 0; len < sizeof(text); len += len < 1700 ? 100 : 1) {
            capture();
            log_info("m", LOG_STRN(PATH, text, len), LOG_STRN(ERROR, text, len), LOG_INT(COUNT, 1),
                     LOG_STR(TOKEN, text));
            AUTO_FREE char *line = captured();
            assert_true(strlen(line) <= LOG_LINE_MAX);
            AUTO_JSON json_t *json = parse_line(line, strlen(line));
            assert_string_equal(json_string_value(json_object_get(json, "msg")), "m");
        }
    }
}

static void test_cut_on_a_character(void **state)
{
    AUTO_BUF struct buf text = {0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        buf_puts(&text, "\xe2\x82\xac");
    capture();
    log_info("m", LOG_STR(PATH, text.data));
    AUTO_FREE char *line = captured();
    AUTO_JSON json_t *json = parse_line(line, strlen(line));
    const char *path = json_string_value(json_object_get(json, "path"));
    assert_string_equal(path + strlen(path) - 6, "\xe2\x82\xac...");
}

static void *chatter(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("chatter", LOG_STR(NAME, arg), LOG_INT(COUNT, i));
    return NULL;
}

static void test_writer(void **state)
{
    static char names[4][2] = {"a", "b", "c", "d"};
    pthread_t threads[4];
    int lines = 0;

    (void)state;
    capture();
    log_start_writer();
    log_start_writer();
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, names[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    log_stop_writer();
    log_stop_writer();
    log_info("after the writer");
    AUTO_FREE char *text = captured();
    for (char *at = text; *at != '\0'; at = strchr(at, '\n') + 1, lines++)
        json_decref(parse_line(at, (size_t)(strchr(at, '\n') - at)));
    assert_int_equal(lines, 801);
    assert_int_equal(log_dropped(), 0);
    assert_non_null(strstr(text, "after the writer"));
}

static void *drop_reader(void *arg)
{
    struct buf *out = arg;
    char piece[4096];
    ssize_t n;

    while ((n = read(pipe_fds[0], piece, sizeof(piece))) > 0)
        buf_add(out, piece, (size_t)n);
    return NULL;
}

/* Nobody reads while far more is logged than ring and pipe hold: no call may wait. */
static void test_slow_reader_costs_lines(void **state)
{
    AUTO_BUF struct buf out = {0};
    pthread_t reader;

    (void)state;
    capture();
    log_start_writer();
    for (int i = 0; i < 20000; i++)
        log_info("flood, and some more text to make the line as long as lines are");
    assert_true(log_dropped() > 0);
    assert_int_equal(pthread_create(&reader, NULL, drop_reader, &out), 0);
    log_stop_writer();
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    pthread_join(reader, NULL);
    close(pipe_fds[0]);
    uint64_t written = 0;
    for (const char *at = out.data; (at = strstr(at, "\"flood")) != NULL; at++)
        written++;
    assert_int_equal(written + log_dropped(), 20000);
    assert_non_null(strstr(out.data, "log lines were dropped"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long_lines_stay_json),
        cmocka_unit_test(test_cut_on_a_character),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_slow_reader_costs_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
