/* The one reader and writer of every message between services. A decoder written by hand for each
 * message would have its own idea of strictness; here a field is one row of a table, and hostile
 * input meets the same few lines whatever the message. */
#include "libcommon/proto/wire.h"

#include "libcommon/eth/abi.h"
#include "libcommon/eth/hex.h"

#include <inttypes.h>
#include <string.h>

static const void *at(const void *base, size_t offset)
{
    return (const char *)base + offset;
}

static void *at_mut(void *base, size_t offset)
{
    return (char *)base + offset;
}

static const void *list_items(const struct wire_field *field, const void *base, size_t *count)
{
    const void *items;
    memcpy(&items, at(base, field->offset), sizeof(items));
    memcpy(count, at(base, field->count_offset), sizeof(*count));
    return items;
}

/* As an absent member is read. */
static bool is_empty(const struct wire_field *field, const void *base)
{
    int64_t number;
    if (field->kind != WIRE_INT)
        return *(const char *)at(base, field->offset) == '\0';
    memcpy(&number, at(base, field->offset), sizeof(number));
    return number == 0;
}

static bool is_present(const struct wire_field *field, const void *base)
{
    if (field->optional && is_empty(field, base))
        return false;
    return field->present == NULL || field->present(base);
}

static json_t *write_field(const struct wire_field *field, const void *base);

static json_t *write_list(const struct wire_field *field, const void *base)
{
    size_t count;
    const char *items = list_items(field, base, &count);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, wire_write(field->shape, items + i * field->shape->size));
    return array;
}

static json_t *write_map(const struct wire_field *field, const void *base)
{
    size_t count;
    const char *items = list_items(field, base, &count);
    const struct wire_field *key = &field->shape->fields[0];
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++) {
        const char *item = items + i * field->shape->size;
        json_object_set_new(object, at(item, key->offset), write_field(key + 1, item));
    }
    return object;
}

static json_t *write_enum(const struct wire_field *field, const void *value)
{
    unsigned index;
    memcpy(&index, value, sizeof(index));
    return json_string(field->words[index]);
}

static json_t *write_address(const uint8_t *address)
{
    char text[43];
    hex_address_format(address, text);
    return json_string(text);
}

static json_t *write_word(const struct word *word)
{
    char text[67];
    word_hex(word, text);
    return json_string(text);
}

static json_t *write_field(const struct wire_field *field, const void *base)
{
    const void *value = at(base, field->offset);
    switch (field->kind) {
    case WIRE_CONST:
        return json_integer(field->min);
    case WIRE_INT:
        return json_integer(*(const int64_t *)value);
    case WIRE_UINT:
        return json_integer((json_int_t) * (const uint64_t *)value);
    case WIRE_BOOL:
        return json_boolean(*(const bool *)value);
    case WIRE_TEXT:
        return json_string(value);
    case WIRE_ENUM:
        return write_enum(field, value);
    case WIRE_ADDRESS:
        return write_address(value);
    case WIRE_WORD:
        return write_word(value);
    case WIRE_OBJECT:
        return wire_write(field->shape, value);
    case WIRE_LIST:
        return write_list(field, base);
    case WIRE_MAP:
        return write_map(field, base);
    }
    abort();
}

json_t *wire_write(const struct wire_shape *shape, const void *base)
{
    if (shape->fields[0].name == NULL)
        return write_field(&shape->fields[0], base);
    json_t *object = json_object();
    for (size_t i = 0; i < shape->count; i++) {
        const struct wire_field *field = &shape->fields[i];
        if (is_present(field, base))
            json_object_set_new(object, field->name, write_field(field, base));
    }
    return object;
}

char *wire_text(const struct wire_shape *shape, const void *base)
{
    AUTO_JSON json_t *json = wire_write(shape, base);
    return json_text(json);
}

static int read_into(const struct wire_shape *shape, const json_t *json, void *base,
                     struct err *err);

static int read_int(const struct wire_field *field, const json_t *json, void *out, struct err *err)
{
    if (!json_is_integer(json))
        return err_set(err, "must be an integer");
    int64_t value = json_integer_value(json);
    int64_t max = field->kind == WIRE_CONST ? field->min : field->max;
    if (value < field->min || value > max)
        return err_set(err, "must be %" PRId64 " to %" PRId64, field->min, max);
    if (field->kind != WIRE_CONST)
        memcpy(out, &value, sizeof(value)); /* a uint64_t of the same value, too */
    return 0;
}

static int read_bool(const json_t *json, void *out, struct err *err)
{
    if (!json_is_boolean(json))
        return err_set(err, "must be true or false");
    *(bool *)out = json_is_true(json);
    return 0;
}

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return false;
}

static int copy_text(const struct wire_field *field, const char *text, size_t len, void *out,
                     struct err *err)
{
    if (len < (size_t)field->min || len > (size_t)field->max)
        return err_set(err, "must be %" PRId64 " to %" PRId64 " bytes", field->min, field->max);
    if (has_control(text, len))
        return err_set(err, "must not hold control characters");
    if (field->valid != NULL && !field->valid(text, len))
        return err_set(err, "must be %s", field->rule);
    memcpy(out, text, len);
    ((char *)out)[len] = '\0';
    return 0;
}

static int read_enum(const struct wire_field *field, const char *text, void *out, struct err *err)
{
    for (unsigned i = 0; field->words[i] != NULL; i++)
        if (strcmp(field->words[i], text) == 0) {
            memcpy(out, &i, sizeof(i));
            return 0;
        }
    return err_set(err, "is none of the words that are known");
}

static int read_word(const char *text, size_t len, void *out, struct err *err)
{
    if (len != 66 || word_from_hex(text, out) != 0)
        return err_set(err, "must be 0x and 64 hex digits");
    return 0;
}

static int read_string(const struct wire_field *field, const json_t *json, void *out,
                       struct err *err)
{
    if (!json_is_string(json))
        return err_set(err, "must be a string");
    const char *text = json_string_value(json);
    size_t len = json_string_length(json);
    if (field->kind == WIRE_TEXT)
        return copy_text(field, text, len, out, err);
    if (field->kind == WIRE_ENUM)
        return read_enum(field, text, out, err);
    if (field->kind == WIRE_ADDRESS)
        return hex_address(text, out, err);
    return read_word(text, len, out, err);
}

/* Room for `count` items, owned by the struct from here on, so that wire_clear frees them on any
 * way out. */
static int list_reserve(const struct wire_field *field, size_t count, void *base, char **items,
                        struct err *err)
{
    if (count < (size_t)field->min || count > (size_t)field->max)
        return err_set(err, "must have %" PRId64 " to %" PRId64 " items", field->min, field->max);
    *items = count == 0 ? NULL : mem_array(count, field->shape->size);
    memcpy(at_mut(base, field->offset), items, sizeof(*items));
    memcpy(at_mut(base, field->count_offset), &count, sizeof(count));
    return 0;
}

static int read_list(const struct wire_field *field, const json_t *json, void *base,
                     struct err *err)
{
    if (!json_is_array(json))
        return err_set(err, "must be an array");
    size_t count = json_array_size(json);
    char *items;
    if (list_reserve(field, count, base, &items, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (read_into(field->shape, json_array_get(json, i), items + i * field->shape->size, err) !=
            0)
            return err_wrap(err, "[%zu]", i);
    return 0;
}

static int read_value(const struct wire_field *field, const json_t *json, void *base,
                      struct err *err)
{
    void *out = at_mut(base, field->offset);
    switch (field->kind) {
    case WIRE_CONST:
    case WIRE_INT:
    case WIRE_UINT:
        return read_int(field, json, out, err);
    case WIRE_BOOL:
        return read_bool(json, out, err);
    case WIRE_TEXT:
    case WIRE_ENUM:
    case WIRE_ADDRESS:
    case WIRE_WORD:
        return read_string(field, json, out, err);
    case WIRE_OBJECT:
        return read_into(field->shape, json, out, err);
    case WIRE_LIST:
        return read_list(field, json, base, err);
    case WIRE_MAP:
        break;
    }
    abort(); /* maps do not nest */
}

static int read_map(const struct wire_field *field, const json_t *json, void *base, struct err *err)
{
    if (!json_is_object(json))
        return err_set(err, "must be an object");
    const struct wire_field *key = &field->shape->fields[0];
    char *item;
    if (list_reserve(field, json_object_size(json), base, &item, err) != 0)
        return -1;
    json_t *mutable = (json_t *)(uintptr_t)json; /* jansson iterates through a non-const pointer */
    const char *name;
    json_t *value;
    json_object_foreach(mutable, name, value)
    {
        if (copy_text(key, name, strlen(name), item + key->offset, err) != 0)
            return err_wrap(err, "a name in it");
        if (read_value(key + 1, value, item, err) != 0)
            return err_wrap(err, "%.64s", name);
        item += field->shape->size;
    }
    return 0;
}

static int refuse_unknown(const struct wire_shape *shape, const json_t *json, struct err *err)
{
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; i < shape->count; i++)
        names[n++] = shape->fields[i].name;
    names[n] = NULL;
    if (json_only(json, names, err) != 0)
        return -1;
    return err_set(err, "has members that do not belong together");
}

static int read_member(const struct wire_field *field, const json_t *json, void *base, size_t *seen,
                       struct err *err)
{
    if (field->present != NULL && !field->present(base))
        return 0;
    const json_t *value = json_object_get(json, field->name);
    if (value == NULL && field->optional)
        return 0;
    if (value == NULL)
        return err_set(err, "%s: missing", field->name);
    ++*seen;
    int rc = field->kind == WIRE_MAP ? read_map(field, value, base, err)
                                     : read_value(field, value, base, err);
    return rc == 0 ? 0 : err_wrap(err, "%s", field->name);
}

static int read_into(const struct wire_shape *shape, const json_t *json, void *base,
                     struct err *err)
{
    if (shape->fields[0].name == NULL)
        return read_value(&shape->fields[0], json, base, err);
    if (!json_is_object(json))
        return err_set(err, "must be an object");
    size_t seen = 0;
    for (size_t i = 0; i < shape->count; i++)
        if (read_member(&shape->fields[i], json, base, &seen, err) != 0)
            return -1;
    if (seen != json_object_size(json))
        return refuse_unknown(shape, json, err);
    return 0;
}

int wire_read(const struct wire_shape *shape, const json_t *json, void *base, struct err *err)
{
    memset(base, 0, shape->size);
    if (read_into(shape, json, base, err) == 0)
        return 0;
    wire_clear(shape, base);
    return -1;
}

int wire_parse(const struct wire_shape *shape, const char *text, size_t len, void *base,
               struct err *err)
{
    memset(base, 0, shape->size);
    AUTO_JSON json_t *json = NULL;
    if (json_parse(text, len, &json, err) != 0)
        return -1;
    return wire_read(shape, json, base, err);
}

int wire_reply_json(const char *text, size_t len, json_t **out, struct err *err)
{
    *out = NULL;
    AUTO_JSON json_t *json = NULL;
    if (json_parse(text, len, &json, err) != 0)
        return err_wrap(err, "reply");
    if (!json_is_object(json))
        return err_set(err, "reply: must be an object");
    const json_t *error = json_object_get(json, "error");
    if (error != NULL) {
        const char *code = json_string_value(json_object_get(error, "code"));
        const char *message = json_string_value(json_object_get(error, "message"));
        return err_set(err, "%.64s: %.256s", code != NULL ? code : "internal",
                       message != NULL ? message : "no reason was given");
    }
    *out = MEM_STEAL(json);
    return 0;
}

int wire_parse_reply(const struct wire_shape *shape, const char *text, size_t len, void *base,
                     struct err *err)
{
    memset(base, 0, shape->size);
    AUTO_JSON json_t *json = NULL;
    if (wire_reply_json(text, len, &json, err) != 0)
        return -1;
    if (wire_read(shape, json, base, err) != 0)
        return err_wrap(err, "reply");
    return 0;
}

void wire_clear(const struct wire_shape *shape, void *base)
{
    for (size_t i = 0; i < shape->count; i++) {
        const struct wire_field *field = &shape->fields[i];
        if (field->kind != WIRE_LIST && field->kind != WIRE_MAP)
            continue;
        void *items;
        memcpy(&items, at_mut(base, field->offset), sizeof(items));
        free(items); /* items of lists own nothing themselves */
    }
    memset(base, 0, shape->size);
}

bool wire_is_day(const char *text, size_t len)
{
    static const char form[] = "dddd-dd-dd";
    if (len != sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < len; i++)
        if (form[i] == '-' ? text[i] != '-' : text[i] < '0' || text[i] > '9')
            return false;
    int month = (text[5] - '0') * 10 + text[6] - '0';
    int day = (text[8] - '0') * 10 + text[9] - '0';
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}
