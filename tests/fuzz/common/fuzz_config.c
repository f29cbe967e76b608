/* Any bytes as a configuration: it loads or is refused with a place and a reason; what was loaded
 * keeps every promise of its table. */
#include "libcommon/config.h"

#include "libcommon/mem.h"

#include <assert.h>
#include <string.h>

struct item {
    const char *key;
    const char *url;
    int64_t weight;
};

struct root {
    const char *text;
    bool flag;
    int64_t number;
    int64_t size;
    int64_t pause;
    int64_t rate;
    int64_t share;
    double ratio;
    int word;
    struct config_list words;
    struct config_list list;
    struct config_list map;
    struct item *maybe;
};

static const char *const words[] = {"one", "two", NULL};

static const struct config_field item_fields[] = {
    CONFIG_FIELD(struct item, url, "url", CONFIG_STRING, .required = true, .min = 1),
    CONFIG_FIELD(struct item, weight, "weight", CONFIG_INT, .min = 1, .max = 9, .fallback = "1"),
};

static const struct config_schema item_schema = {.name = "url, weight",
                                                 .size = sizeof(struct item),
                                                 .fields = item_fields,
                                                 .count = ARRAY_LEN(item_fields),
                                                 .scalar_field = "url"};

static const struct config_field fields[] = {
    CONFIG_FIELD(struct root, text, "text", CONFIG_STRING, .max = 100),
    CONFIG_FIELD(struct root, flag, "flag", CONFIG_BOOL),
    CONFIG_FIELD(struct root, number, "number", CONFIG_INT, .min = -7, .max = 7),
    CONFIG_FIELD(struct root, size, "size", CONFIG_SIZE),
    CONFIG_FIELD(struct root, pause, "pause", CONFIG_DURATION),
    CONFIG_FIELD(struct root, rate, "rate", CONFIG_RATE),
    CONFIG_FIELD(struct root, share, "share", CONFIG_PERCENT),
    CONFIG_FIELD(struct root, ratio, "ratio", CONFIG_FLOAT, .max = 1),
    CONFIG_FIELD(struct root, word, "word", CONFIG_ENUM, .words = words, .fallback = "two"),
    CONFIG_FIELD(struct root, words, "words", CONFIG_STRINGS, .max = 5),
    CONFIG_FIELD(struct root, list, "list", CONFIG_LIST, .section = &item_schema, .max = 50),
    CONFIG_FIELD(struct root, map, "map", CONFIG_MAP, .section = &item_schema, .max = 50),
    CONFIG_FIELD(struct root, maybe, "maybe", CONFIG_OPTIONAL, .section = &item_schema),
};

static const struct config_schema schema = {
    .name = "root", .size = sizeof(struct root), .fields = fields, .count = ARRAY_LEN(fields)};

static void check_items(const struct config_list *list, size_t max, bool keyed)
{
    const struct item *items = list->items;

    assert(list->count <= max);
    for (size_t i = 0; i < list->count; i++) {
        assert(items[i].url[0] != '\0');
        assert(items[i].weight >= 1 && items[i].weight <= 9);
        assert(!keyed || items[i].key != NULL);
    }
}

static void check_root(const struct root *root)
{
    const char *const *texts = root->words.items;

    assert(strlen(root->text) <= 100);
    assert(root->number >= -7 && root->number <= 7);
    assert(root->size >= 0 && root->pause >= 0 && root->rate >= 0);
    assert(root->share >= 0 && root->share <= 100);
    assert(root->ratio >= 0 && root->ratio <= 1);
    assert(root->word == 0 || root->word == 1);
    assert(root->words.count <= 5);
    for (size_t i = 0; i < root->words.count; i++)
        assert(strlen(texts[i]) <= 65536);
    check_items(&root->list, 50, false);
    check_items(&root->map, 50, true);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct config *config = NULL;
    struct err err = {{0}};

    if (config_parse("fuzz", (const char *)data, size, &schema, &config, &err) != 0) {
        assert(strncmp(err.msg, "fuzz", 4) == 0);
        return 0;
    }
    check_root(config_root(config));
    config_free(&config);
    return 0;
}
