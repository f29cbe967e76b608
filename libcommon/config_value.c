/* Owns the written forms of single values: numbers, sizes, durations, rates, words. Each is strict:
 * what is left over after a number is an error, and a number without the unit it needs is one too.
 */
#include "libcommon/config_value.h"

#include "libcommon/buf.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit sizes[] = {
    {"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}};
static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
static const struct unit rates[] = {{"/s", 1}};
static const struct unit percents[] = {{"", 1}, {"%", 1}};

/* Digits only; the rest of the text at *rest. -1: no digit, or too large. */
static int parse_digits(const char *text, int64_t *out, const char **rest)
{
    int64_t value = 0;

    if (*text < '0' || *text > '9')
        return -1;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *text - '0', &value))
            return -1;
    *out = value;
    *rest = text;
    return 0;
}

static int parse_units(const char *text, const struct unit *units, size_t count, int64_t *out)
{
    int64_t number;
    const char *rest;

    if (parse_digits(text, &number, &rest) != 0)
        return -1;
    if (number == 0 && *rest == '\0') {
        *out = 0; /* nothing of anything needs no unit */
        return 0;
    }
    while (*rest == ' ')
        rest++;
    for (size_t i = 0; i < count; i++)
        if (strcmp(rest, units[i].name) == 0)
            return __builtin_mul_overflow(number, units[i].factor, out) ? -1 : 0;
    return -1;
}

int config_parse_size(const char *text, int64_t *bytes, struct err *err)
{
    if (parse_units(text, sizes, ARRAY_LEN(sizes), bytes) == 0)
        return 0;
    return err_set(err, "must be a number of bytes, or one with KiB, MiB or GiB");
}

int config_parse_duration(const char *text, int64_t *ms, struct err *err)
{
    if (parse_units(text, durations, ARRAY_LEN(durations), ms) == 0)
        return 0;
    return err_set(err, "must be a number with its unit: ms, s, m, h or d");
}

static int word_index(const struct config_field *field, const char *text)
{
    for (int i = 0; field->words != NULL && field->words[i] != NULL; i++)
        if (strcmp(field->words[i], text) == 0)
            return i;
    return -1;
}

static int parse_int(const struct config_field *field, const char *text, int64_t *out)
{
    bool negative = *text == '-';
    const char *rest;

    int word = word_index(field, text);
    if (word >= 0) {
        *out = word;
        return 0;
    }
    if (parse_digits(negative ? text + 1 : text, out, &rest) != 0 || *rest != '\0')
        return -1;
    if (negative)
        *out = -*out;
    return 0;
}

static int parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return -1;
}

static bool bounded(const struct config_field *field)
{
    return field->min != 0 || field->max != 0;
}

static bool in_range(const struct config_field *field, int64_t value)
{
    if (!bounded(field))
        return true;
    return value >= field->min && (value <= field->max || field->max == 0);
}

static int parse_float(const struct config_field *field, const char *text, double *out)
{
    char *end;

    if (*text == '\0' || strspn(text, "0123456789.-eE+") != strlen(text))
        return -1;
    *out = strtod(text, &end);
    if (*end != '\0' || !isfinite(*out))
        return -1;
    bool low = bounded(field) && *out < (double)field->min;
    bool high = field->max != 0 && *out > (double)field->max;
    return low || high ? -1 : 0;
}

static int parse_number(const struct config_field *field, const char *text, int64_t *out)
{
    if (field->kind == CONFIG_SIZE)
        return parse_units(text, sizes, ARRAY_LEN(sizes), out);
    if (field->kind == CONFIG_DURATION)
        return parse_units(text, durations, ARRAY_LEN(durations), out);
    if (field->kind == CONFIG_RATE)
        return parse_units(text, rates, ARRAY_LEN(rates), out);
    if (field->kind == CONFIG_PERCENT)
        return parse_units(text, percents, ARRAY_LEN(percents), out) == 0 && *out <= 100 ? 0 : -1;
    return parse_int(field, text, out);
}

static int parse_scalar(const struct config_field *field, const char *text, void *out)
{
    int64_t number = 0;

    if (field->kind == CONFIG_BOOL)
        return parse_bool(text, out);
    if (field->kind == CONFIG_FLOAT)
        return parse_float(field, text, out);
    if (field->kind == CONFIG_ENUM) {
        int word = word_index(field, text);
        memcpy(out, &word, sizeof(word));
        return word >= 0 ? 0 : -1;
    }
    if (parse_number(field, text, &number) != 0 || !in_range(field, number))
        return -1;
    memcpy(out, &number, sizeof(number));
    return 0;
}

int config_value_parse(const struct config_field *field, const char *text, void *out,
                       struct err *err)
{
    AUTO_BUF struct buf allowed = {.max = 300};

    if (parse_scalar(field, text, out) == 0)
        return 0;
    config_value_describe(field, &allowed);
    return err_set(err, "must be %s", allowed.data != NULL ? allowed.data : "another value");
}

static void describe_words(const struct config_field *field, struct buf *out)
{
    for (size_t i = 0; field->words[i] != NULL; i++) {
        const char *between = field->words[i + 1] == NULL ? " or " : ", ";
        buf_printf(out, "%s%s", i > 0 ? between : "", field->words[i]);
    }
}

static void put_amount(const struct config_field *field, int64_t value, struct buf *out)
{
    const struct unit *units = field->kind == CONFIG_SIZE ? sizes : durations;
    size_t count = field->kind == CONFIG_SIZE ? ARRAY_LEN(sizes) : ARRAY_LEN(durations);
    const struct unit *best = &units[0];

    if (field->kind != CONFIG_SIZE && field->kind != CONFIG_DURATION) {
        buf_printf(out, "%" PRId64, value);
        return;
    }
    for (size_t i = 1; i < count; i++)
        if (value != 0 && value % units[i].factor == 0)
            best = &units[i];
    if (field->kind == CONFIG_SIZE && best->factor == 1)
        best = &units[0];
    buf_printf(out, "%" PRId64 "%s", value / best->factor, best->name);
}

static void describe_range(const struct config_field *field, struct buf *out)
{
    if (!bounded(field) || field->kind == CONFIG_PERCENT)
        return;
    if (field->max == 0) {
        buf_puts(out, ", at least ");
        put_amount(field, field->min, out);
        return;
    }
    buf_puts(out, " from ");
    put_amount(field, field->min, out);
    buf_puts(out, " to ");
    put_amount(field, field->max, out);
}

static void describe_length(const struct config_field *field, struct buf *out)
{
    if (field->min > 0)
        buf_printf(out, ", %" PRId64 " byte%s at least", field->min, field->min == 1 ? "" : "s");
    if (field->max > 0)
        buf_printf(out, ", %" PRId64 " bytes at most", field->max);
}

static const char *kind_words(enum config_kind kind)
{
    switch (kind) {
    case CONFIG_STRING:
        return "text";
    case CONFIG_BOOL:
        return "true or false";
    case CONFIG_INT:
        return "a whole number";
    case CONFIG_SIZE:
        return "a size in bytes, KiB, MiB or GiB";
    case CONFIG_DURATION:
        return "a duration in ms, s, m, h or d";
    case CONFIG_RATE:
        return "a rate as N/s, or 0";
    case CONFIG_PERCENT:
        return "a percentage from 0% to 100%";
    case CONFIG_FLOAT:
        return "a number";
    case CONFIG_ENUM:
        return "";
    case CONFIG_STRINGS:
        return "a list of texts";
    case CONFIG_SECTION:
    case CONFIG_OPTIONAL:
        return "a section";
    case CONFIG_LIST:
        return "a list of sections";
    case CONFIG_MAP:
        return "a map of sections by name";
    }
    return "";
}

void config_value_describe(const struct config_field *field, struct buf *out)
{
    buf_puts(out, kind_words(field->kind));
    if (field->kind == CONFIG_ENUM) {
        describe_words(field, out);
        return;
    }
    if (field->kind == CONFIG_STRING)
        describe_length(field, out);
    else if (field->kind <= CONFIG_FLOAT)
        describe_range(field, out);
    if (field->kind == CONFIG_INT && field->words != NULL) {
        buf_puts(out, ", or ");
        describe_words(field, out);
    }
}
