/* Compares two sections field by field, along their table: what a reload changes, and whether it
 * may. */
#include "libcommon/config.h"

#include <string.h>

static bool same_strings(const struct config_list *a, const struct config_list *b)
{
    const char *const *left = a->items;
    const char *const *right = b->items;

    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(left[i], right[i]) != 0)
            return false;
    return true;
}

static bool same_items(const struct config_schema *schema, const struct config_list *a,
                       const struct config_list *b, bool keyed)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const void *left = (const char *)a->items + i * schema->size;
        const void *right = (const char *)b->items + i * schema->size;
        if (keyed && strcmp(*(const char *const *)left, *(const char *const *)right) != 0)
            return false;
        if (!config_same(schema, left, right))
            return false;
    }
    return true;
}

static bool same_field(const struct config_field *field, const void *a, const void *b)
{
    const void *const *pointers[] = {a, b};

    switch (field->kind) {
    case CONFIG_STRING:
        return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
    case CONFIG_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case CONFIG_INT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
    case CONFIG_RATE:
    case CONFIG_PERCENT:
        return *(const int64_t *)a == *(const int64_t *)b;
    case CONFIG_FLOAT:
        return memcmp(a, b, sizeof(double)) == 0;
    case CONFIG_ENUM:
        return *(const int *)a == *(const int *)b;
    case CONFIG_STRINGS:
        return same_strings(a, b);
    case CONFIG_SECTION:
        return config_same(field->section, a, b);
    case CONFIG_OPTIONAL:
        return config_same(field->section, *pointers[0], *pointers[1]);
    case CONFIG_LIST:
    case CONFIG_MAP:
        return same_items(field->section, a, b, field->kind == CONFIG_MAP);
    }
    return false;
}

bool config_same(const struct config_schema *schema, const void *a, const void *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    for (size_t i = 0; i < schema->count; i++) {
        const struct config_field *field = &schema->fields[i];
        if (!same_field(field, (const char *)a + field->offset, (const char *)b + field->offset))
            return false;
    }
    return true;
}
