/* Configuration: every kind of value, every way to get one wrong, and that the message says where.
 */
#include "libcommon/config.h"

#include "libcommon/buf.h"
#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const colours[] = {"red", "green", "blue", NULL};
static const char *const automatic[] = {"auto", NULL};

struct inner {
    const char *key; /* of a map */
    const char *url;
    int64_t weight;
};

static int check_inner(void *section, struct err *err)
{
    const struct inner *inner = section;

    return inner->weight == 13 ? err_set(err, "13 is bad luck") : 0;
}

static const struct config_field inner_fields[] = {
    CONFIG_FIELD(struct inner, url, "url", CONFIG_STRING, .required = true, .min = 1, .max = 20),
    CONFIG_FIELD(struct inner, weight, "weight", CONFIG_INT, .min = 1, .max = 100, .fallback = "1"),
};

static const struct config_schema inner_schema = {.name = "url, weight",
                                                  .size = sizeof(struct inner),
                                                  .fields = inner_fields,
                                                  .count = ARRAY_LEN(inner_fields),
                                                  .check = check_inner,
                                                  .scalar_field = "url"};

struct soft {
    const char *name;
    int64_t size;
};

static const struct config_field soft_fields[] = {
    CONFIG_FIELD(struct soft, name, "name", CONFIG_STRING),
    CONFIG_FIELD(struct soft, size, "size", CONFIG_SIZE, .fallback = "2KiB"),
};

static const struct config_schema soft_schema = {.name = "name, size",
                                                 .size = sizeof(struct soft),
                                                 .fields = soft_fields,
                                                 .count = ARRAY_LEN(soft_fields),
                                                 .scalar_field = "name"};

struct root {
    const char *text;
    const char *secret;
    bool flag;
    int64_t number;
    int64_t workers;
    int64_t size;
    int64_t pause;
    int64_t rate;
    int64_t share;
    double ratio;
    int colour;
    struct config_list words;
    struct config_list backends;
    struct config_list pools;
    struct soft soft;
    struct soft named;
    struct soft *maybe;
};

static const struct config_field root_fields[] = {
    CONFIG_FIELD(struct root, text, "text", CONFIG_STRING, .fallback = "plain", .doc = "a | b"),
    CONFIG_FIELD(struct root, secret, "secret", CONFIG_INT, .secret = true),
    CONFIG_FIELD(struct root, flag, "flag", CONFIG_BOOL),
    CONFIG_FIELD(struct root, number, "number", CONFIG_INT, .min = -5, .max = 5, .fallback = "3"),
    CONFIG_FIELD(struct root, workers, "workers", CONFIG_INT, .max = 64, .words = automatic,
                 .fallback = "auto"),
    CONFIG_FIELD(struct root, size, "size", CONFIG_SIZE, .max = 1 << 30, .fallback = "1MiB"),
    CONFIG_FIELD(struct root, pause, "pause", CONFIG_DURATION, .min = 10, .max = 60000,
                 .fallback = "5s"),
    CONFIG_FIELD(struct root, rate, "rate", CONFIG_RATE),
    CONFIG_FIELD(struct root, share, "share", CONFIG_PERCENT, .fallback = "50%"),
    CONFIG_FIELD(struct root, ratio, "ratio", CONFIG_FLOAT, .max = 1, .fallback = "0.5"),
    CONFIG_FIELD(struct root, colour, "colour", CONFIG_ENUM, .words = colours, .fallback = "green"),
    CONFIG_FIELD(struct root, words, "words", CONFIG_STRINGS, .max = 3, .fallback = "[a, b]"),
    CONFIG_FIELD(struct root, backends, "backends", CONFIG_LIST, .section = &inner_schema,
                 .max = 2),
    CONFIG_FIELD(struct root, pools, "pools", CONFIG_MAP, .section = &inner_schema),
    CONFIG_FIELD(struct root, soft, "soft", CONFIG_SECTION, .section = &soft_schema),
    CONFIG_FIELD(struct root, named, "named", CONFIG_SECTION, .section = &soft_schema,
                 .fallback = "otto"),
    CONFIG_FIELD(struct root, maybe, "maybe", CONFIG_OPTIONAL, .section = &soft_schema),
};

static const struct config_schema root_schema = {.name = "root",
                                                 .size = sizeof(struct root),
                                                 .fields = root_fields,
                                                 .count = ARRAY_LEN(root_fields)};

static struct config *parse(const char *text)
{
    struct config *config = NULL;
    struct err err = {{0}};

    if (config_parse("f", text, strlen(text), &root_schema, &config, &err) != 0)
        fail_msg("%s: %s", text, err.msg);
    return config;
}

static void expect_error(const char *text, size_t len, const char *expected)
{
    struct config *config = NULL;
    struct err err = {{0}};

    assert_int_equal(config_parse("f", text, len, &root_schema, &config, &err), -1);
    assert_null(config);
    if (strstr(err.msg, expected) == NULL)
        fail_msg("%s\nexpected: %s\ngot:      %s", text, expected, err.msg);
}

static void test_defaults(void **state)
{
    struct config *config = NULL;
    struct err err = {{0}};

    (void)state;
    assert_int_equal(config_defaults(&root_schema, &config, &err), 0);
    const struct root *root = config_root(config);
    assert_string_equal(root->text, "plain");
    assert_false(root->flag);
    assert_int_equal(root->number, 3);
    assert_int_equal(root->workers, 0);
    assert_int_equal(root->size, 1024 * 1024);
    assert_int_equal(root->pause, 5000);
    assert_int_equal(root->rate, 0);
    assert_int_equal(root->share, 50);
    assert_true(root->ratio == 0.5);
    assert_int_equal(root->colour, 1);
    assert_int_equal(root->words.count, 2);
    assert_string_equal(((const char **)root->words.items)[1], "b");
    assert_int_equal(root->backends.count, 0);
    assert_string_equal(root->soft.name, "");
    assert_int_equal(root->soft.size, 2048);
    assert_string_equal(root->named.name, "otto");
    assert_null(root->maybe);
    config_free(&config);
    assert_null(config);
}

static void test_everything(void **state)
{
    struct config *config = parse("text: \"a # b\"\n"
                                  "secret: 42\n"
                                  "flag: yes\n"
                                  "number: -5\n"
                                  "workers: 7\n"
                                  "size: 64 KiB\n"
                                  "pause: 1m\n"
                                  "rate: 10/s\n"
                                  "share: 20%\n"
                                  "ratio: 0.25\n"
                                  "colour: blue\n"
                                  "words: [x, \"y z\"]\n"
                                  "backends:\n"
                                  "  - http://a\n"
                                  "  - { url: http://b, weight: 9 }\n"
                                  "pools:\n"
                                  "  one: { url: u1 }\n"
                                  "  two: u2\n"
                                  "soft: { size: 1 }\n"
                                  "named: { size: 3 }\n"
                                  "maybe:\n"
                                  "  name: there\n");
    const struct root *root = config_root(config);
    const struct inner *backends = root->backends.items;
    const struct inner *pools = root->pools.items;

    (void)state;
    assert_string_equal(root->text, "a # b");
    assert_true(root->flag);
    assert_int_equal(root->number, -5);
    assert_int_equal(root->workers, 7);
    assert_int_equal(root->size, 65536);
    assert_int_equal(root->pause, 60000);
    assert_int_equal(root->rate, 10);
    assert_int_equal(root->share, 20);
    assert_int_equal(root->colour, 2);
    assert_string_equal(((const char **)root->words.items)[1], "y z");
    assert_int_equal(root->backends.count, 2);
    assert_string_equal(backends[0].url, "http://a");
    assert_int_equal(backends[0].weight, 1);
    assert_int_equal(backends[1].weight, 9);
    assert_int_equal(root->pools.count, 2);
    assert_string_equal(pools[0].key, "one");
    assert_string_equal(pools[1].url, "u2");
    assert_string_equal(root->soft.name, "");
    assert_string_equal(root->named.name, "otto");
    assert_int_equal(root->named.size, 3);
    assert_string_equal(root->maybe->name, "there");
    assert_int_equal(root->maybe->size, 2048);
    config_free(&config);
}

static void test_nothing_means_default(void **state)
{
    static const char *const texts[] = {"number:\n", "number: ~\n", "number: null\nsoft:\n",
                                        "# only a comment\n", "---\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct config *config = parse(texts[i]);
        const struct root *root = config_root(config);
        assert_int_equal(root->number, 3);
        assert_int_equal(root->soft.size, 2048);
        config_free(&config);
    }
}

static void test_an_empty_optional_section_is_there(void **state)
{
    struct config *config = parse("maybe:\n");
    const struct root *root = config_root(config);

    (void)state;
    assert_non_null(root->maybe);
    assert_int_equal(root->maybe->size, 2048);
    config_free(&config);
}

static void test_errors(void **state)
{
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        {"nmber: 3\n", "f:1: nmber: there is no such key here; known are: text, secret"},
        {"number: 3\nnumber: 4\n", "f:2: number: this key stands twice (first on line 1)"},
        {"number: 6\n", "f:1: number: \"6\": must be a whole number from -5 to 5"},
        {"number: 1x\n", "must be a whole number"},
        {"number: 0x1\n", "must be a whole number"},
        {"number: 99999999999999999999\n", "must be a whole number"},
        {"number: [1]\n", "f:1: number: must be a whole number from -5 to 5, not a list"},
        {"workers: 65\n", "must be a whole number from 0 to 64, or auto"},
        {"size: 1KB\n", "must be a size in bytes, KiB, MiB or GiB from 0 to 1GiB"},
        {"size: 2GiB\n", "from 0 to 1GiB"},
        {"size: 9999999999GiB\n", "must be a size"},
        {"pause: 5\n", "f:1: pause: \"5\": must be a duration in ms, s, m, h or d from 10ms to 1m"},
        {"pause: 1ms\n", "from 10ms to 1m"},
        {"rate: 10\n", "must be a rate as N/s, or 0"},
        {"share: 101%\n", "must be a percentage"},
        {"ratio: 1.5\n", "must be a number from 0 to 1"},
        {"ratio: nan\n", "must be a number"},
        {"ratio: 0x1\n", "must be a number"},
        {"flag: maybe\n", "must be true or false"},
        {"colour: pink\n", "f:1: colour: \"pink\": must be red, green or blue"},
        {"secret: hunter2\n", "f:1: secret: must be a whole number"},
        {"words: [a, b, c, d]\n", "has 4 entries, at most 3 are allowed"},
        {"words: { a: b }\n", "must be a list of texts, not a section"},
        {"words: [[a]]\n", "words[0]: must be text, not a list"},
        {"backends: { url: x }\n", "f:1: backends: must be a list; each entry starts with a dash"},
        {"backends: [a, b, c]\n", "at most 2"},
        {"backends:\n  - url: a\n  - weight: 3\n", "f:3: backends[1].url: is missing"},
        {"backends:\n  - url: a\n    weight: 13\n", "f:2: backends[0]: 13 is bad luck"},
        {"backends:\n  - url: \"\"\n", "url: must be at least 1 byte long"},
        {"backends: [123456789012345678901]\n", "url: must be at most 20 bytes long"},
        {"pools:\n  one: { url: u, weigth: 1 }\n", "f:2: pools.one.weigth: there is no such key"},
        {"pools: [a]\n", "must be a map of sections by name"},
        {"soft: [a]\n", "f:1: soft: must be a section of keys: name, size"},
        {"just text\n", "f:1: must be a section of keys"},
        {"- a\n", "f:1: must be a section of keys"},
        {"text: &a x\n", "f:1: anchors and aliases"},
        {"text: *a\n", "f:1: anchors and aliases"},
        {"text: !!str x\n", "f:1: tags (!) are not allowed"},
        {"text: a\n---\ntext: b\n", "f:2: one document"},
        {"text: \"a\n", "f:2: "},
        {"\ttext: a\n", "f:1: "},
        {"text: \"\\0\"\n", "contains a NUL"},
        {"[a]: b\n", "a key must be a plain word"},
        {"text: \xff\xfe\n", "f: not UTF-8"},
        {"text: ${OCTROI_TEST_UNSET}\n",
         "f:1: text: the environment variable OCTROI_TEST_UNSET is not set"},
        {"text: ${9}\n", "is not ${VARIABLE}"},
        {"text: ${}\n", "is not ${VARIABLE}"},
        {"text: ${A\n", "${ without its }"},
        {"text: a$b\n", "a dollar sign is written $$"},
        {"text: a$\n", "a dollar sign is written $$"},
        {"text: ${file:/nonexistent/x}\n", "cannot open /nonexistent/x"},
        {"text: ${file:/dev/zero}\n", "/dev/zero is not a regular file"},
        {"text: ${file:}\n", "needs a path"},
        {"number: ${OCTROI_TEST_TEXT}\n", "f:1: number: must be a whole number"},
    };

    (void)state;
    setenv("OCTROI_TEST_TEXT", "s3cret", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_error(cases[i].text, strlen(cases[i].text), cases[i].expected);
}

static void test_a_schema_without_keys(void **state)
{
    static const struct config_schema empty = {.name = "nothing", .size = 1};
    struct config *config = NULL;
    struct err err = {{0}};

    (void)state;
    assert_int_equal(config_parse("f", "a: b\n", 5, &empty, &config, &err), -1);
    assert_string_equal(err.msg, "f:1: a: there is no such key here; known are: none");
}

static void test_depth(void **state)
{
    AUTO_BUF struct buf text = {0};

    (void)state;
    buf_puts(&text, "words: ");
    for (int i = 0; i < 100; i++)
        buf_putc(&text, '[');
    expect_error(text.data, text.len, "f:1: nested too deep (at most 32 levels)");
}

static void test_size(void **state)
{
    size_t len = 4 * 1024 * 1024 + 1;
    AUTO_FREE char *text = mem_alloc(len);

    (void)state;
    memset(text, '#', len);
    expect_error(text, len, "f: larger than 4 MiB");
    AUTO_BUF struct buf value = {0};
    buf_puts(&value, "text: ");
    for (int i = 0; i < 70000; i++)
        buf_putc(&value, 'a');
    expect_error(value.data, value.len, "longer than 64 KiB");
}

/* One variable may name several entries of a list. */
static void test_list_as_text(void **state)
{
    (void)state;
    setenv("OCTROI_TEST_TEXT", "http://a, b$1 ,", 1);
    struct config *config = parse("backends: \"${OCTROI_TEST_TEXT}\"\n");
    const struct root *root = config_root(config);
    const struct inner *items = root->backends.items;
    assert_int_equal(root->backends.count, 2);
    assert_string_equal(items[0].url, "http://a");
    assert_string_equal(items[1].url, "b$1");
    config_free(&config);
    config = parse("backends: a\n");
    root = config_root(config);
    assert_int_equal(root->backends.count, 1);
    config_free(&config);
    expect_error("backends: a,b,c\n", strlen("backends: a,b,c\n"), "at most 2");
    unsetenv("OCTROI_TEST_TEXT");
}

static void test_expansion(void **state)
{
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        {"text: ${OCTROI_TEST_A}", "one: [two]"},
        {"text: \"<${OCTROI_TEST_A}>\"", "<one: [two]>"},
        {"text: a$$b$${OCTROI_TEST_A}", "a$b${OCTROI_TEST_A}"},
        {"text: ${OCTROI_TEST_UNSET:-fall back}", "fall back"},
        {"text: ${OCTROI_TEST_EMPTY:-x}", "x"},
        {"text: ${OCTROI_TEST_EMPTY}", ""},
        {"text: ${OCTROI_TEST_UNSET:-}", ""},
        {"text: ${OCTROI_TEST_A}${OCTROI_TEST_UNSET:-!}", "one: [two]!"},
    };

    (void)state;
    setenv("OCTROI_TEST_A", "one: [two]", 1);
    setenv("OCTROI_TEST_EMPTY", "", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *config = parse(cases[i].text);
        assert_string_equal(((const struct root *)config_root(config))->text, cases[i].expected);
        config_free(&config);
    }
}

static void write_file(char *path, const char *text, size_t len)
{
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

static void test_files(void **state)
{
    char secret[] = "/tmp/octroi-test-XXXXXX";
    char large[] = "/tmp/octroi-test-XXXXXX";
    AUTO_FREE char *zeros = mem_zalloc(70000);
    struct err err = {{0}};
    struct config *config = NULL;

    (void)state;
    write_file(secret, "two\nlines\n\n", 11);
    AUTO_FREE char *text = mem_printf("text: ${file:%s}", secret);
    config = parse(text);
    assert_string_equal(((const struct root *)config_root(config))->text, "two\nlines\n");
    config_free(&config);

    memset(zeros, 'a', 70000);
    write_file(large, zeros, 70000);
    AUTO_FREE char *too_large = mem_printf("text: ${file:%s}", large);
    expect_error(too_large, strlen(too_large), "is larger than 64 KiB");

    assert_int_equal(config_load(large, &root_schema, &config, &err), -1);
    assert_non_null(strstr(err.msg, large));
    assert_int_equal(config_load("/nonexistent.yaml", &root_schema, &config, &err), -1);
    assert_string_equal(err.msg, "cannot open /nonexistent.yaml: No such file or directory");
    assert_int_equal(config_load("/tmp", &root_schema, &config, &err), -1);
    unlink(secret);
    unlink(large);
}

/* 10,000 routes is what the proxy promises to load: no step may be quadratic. */
static void test_many(void **state)
{
    AUTO_BUF struct buf text = {0};

    (void)state;
    buf_puts(&text, "pools:\n");
    for (int i = 0; i < 10000; i++)
        buf_printf(&text, "  pool-%d: { url: \"u%d\", weight: 2 }\n", i, i);
    struct config *config = parse(text.data);
    const struct root *root = config_root(config);
    assert_int_equal(root->pools.count, 10000);
    assert_string_equal(((const struct inner *)root->pools.items)[9999].key, "pool-9999");
    config_free(&config);
    buf_puts(&text, "  one-more: u\n");
    expect_error(text.data, text.len, "has 10001 entries, at most 10000 are allowed");
}

static void test_single_values(void **state)
{
    int64_t value = 0;
    struct err err = {{0}};

    (void)state;
    assert_int_equal(config_parse_size("3KiB", &value, &err), 0);
    assert_int_equal(value, 3072);
    assert_int_equal(config_parse_duration("2d", &value, &err), 0);
    assert_int_equal(value, 172800000);
    assert_int_equal(config_parse_duration("0", &value, &err), 0);
    assert_int_equal(value, 0);
    assert_int_equal(config_parse_duration("", &value, &err), -1);
    assert_int_equal(config_parse_size("-1", &value, &err), -1);
    assert_int_equal(config_parse_size("9223372036854775808", &value, &err), -1);
}

static void test_document(void **state)
{
    AUTO_BUF struct buf out = {0};
    static const char *const expected[] = {
        "| `text` | text | `plain` | a \\| b |",
        "| `pause` | a duration in ms, s, m, h or d from 10ms to 1m | `5s` |",
        "| `secret` | a whole number | `0` |  (secret) |",
        "### `backends[]`",
        "### `pools.<name>`",
        "| `url` | text, 1 byte at least, 20 bytes at most | required |",
        "A single value stands for `url`.",
    };

    (void)state;
    config_document(&root_schema, &out);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        if (strstr(out.data, expected[i]) == NULL)
            fail_msg("%s is not in\n%s", expected[i], out.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_nothing_means_default),
        cmocka_unit_test(test_an_empty_optional_section_is_there),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_list_as_text),
        cmocka_unit_test(test_a_schema_without_keys),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_single_values),
        cmocka_unit_test(test_document),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
