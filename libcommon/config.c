/* Owns the way from a tree of YAML to a service's structs, led by its table. Defaults pass through
 * the same parsers as the file, so a wrong default is found by the first test that loads it. */
#include "libcommon/config.h"

#include "libcommon/buf.h"
#include "libcommon/config_tree.h"
#include "libcommon/config_value.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 10000

struct config {
    atomic_uint owners;
    uint64_t fingerprint;
    struct config_arena *arena;
    void *root;
};

/* Where the walk is: a chain of names up to the root, for messages. */
struct place {
    const struct place *up;
    const char *name; /* NULL: the root */
    size_t index;     /* of an item, where name is "[]" */
    unsigned line;
};

struct walk {
    struct config_arena *arena;
    const char *file;
    struct err *err;
};

static void put_path(const struct place *place, struct buf *out)
{
    if (place == NULL || place->name == NULL)
        return;
    put_path(place->up, out);
    if (strcmp(place->name, "[]") == 0)
        buf_printf(out, "[%zu]", place->index);
    else
        buf_printf(out, "%s%.100s", out->len > 0 ? "." : "", place->name);
}

/* Puts "file:line: key.path: " before what stands in err. */
static int located(struct walk *walk, const struct place *place)
{
    AUTO_BUF struct buf path = {.max = 300};

    put_path(place, &path);
    if (path.len > 0)
        return err_wrap(walk->err, "%s:%u: %s", walk->file, place->line, path.data);
    return err_wrap(walk->err, "%s:%u", walk->file, place->line);
}

static int decode_section(struct walk *walk, const struct config_schema *schema,
                          const struct config_node *node, const char *fallback, void *section,
                          const struct place *place);
static int decode_field(struct walk *walk, const struct config_field *field,
                        const struct config_node *node, void *section, const struct place *place);

/* A default as a node. Of lists it is YAML, of everything else the scalar itself. */
static int fallback_node(struct walk *walk, const struct config_field *field,
                         const struct config_node **out, const struct place *place)
{
    struct config_node *node = NULL;

    if (field->kind == CONFIG_STRINGS || field->kind == CONFIG_LIST || field->kind == CONFIG_MAP) {
        if (config_tree_parse(walk->arena, "default", field->fallback, strlen(field->fallback),
                              &node, walk->err) != 0)
            return located(walk, place);
    } else {
        node = config_arena_alloc(walk->arena, sizeof(*node));
        node->kind = CONFIG_NODE_SCALAR;
        node->text = field->fallback;
        node->len = strlen(field->fallback);
        node->line = place->line;
    }
    *out = node;
    return 0;
}

static int need_scalar(struct walk *walk, const struct config_field *field,
                       const struct config_node *node, const struct place *place)
{
    AUTO_BUF struct buf allowed = {.max = 300};

    if (node->kind == CONFIG_NODE_SCALAR)
        return 0;
    config_value_describe(field, &allowed);
    err_set(walk->err, "must be %s, not a %s", allowed.data,
            node->kind == CONFIG_NODE_LIST ? "list" : "section");
    return located(walk, place);
}

static int expand(struct walk *walk, const struct config_node *node, const char **text,
                  bool *expanded, const struct place *place)
{
    if (config_expand(walk->arena, node->text, node->len, text, expanded, walk->err) != 0)
        return located(walk, place);
    return 0;
}

static int check_length(struct walk *walk, const struct config_field *field, const char *text,
                        const struct place *place)
{
    size_t len = strlen(text);

    if (field->max > 0 && len > (size_t)field->max)
        err_set(walk->err, "must be at most %lld bytes long", (long long)field->max);
    else if (field->min > 0 && len < (size_t)field->min)
        err_set(walk->err, "must be at least %lld byte%s long", (long long)field->min,
                field->min == 1 ? "" : "s");
    else
        return 0;
    return located(walk, place);
}

/* What was written may be shown only where it is no secret, and came from the file itself. */
static int decode_scalar(struct walk *walk, const struct config_field *field,
                         const struct config_node *node, void *out, const struct place *place)
{
    const char *text;
    bool expanded;

    if (need_scalar(walk, field, node, place) != 0 ||
        expand(walk, node, &text, &expanded, place) != 0)
        return -1;
    if (field->kind == CONFIG_STRING) {
        memcpy(out, &text, sizeof(text));
        return check_length(walk, field, text, place);
    }
    if (config_value_parse(field, text, out, walk->err) == 0)
        return 0;
    if (!field->secret && !expanded)
        err_wrap(walk->err, "\"%.60s\"", text);
    return located(walk, place);
}

static int check_count(struct walk *walk, const struct config_field *field, size_t count,
                       const struct place *place)
{
    size_t max = field->max > 0 ? (size_t)field->max : LIST_MAX;

    if (count > max)
        err_set(walk->err, "has %zu entries, at most %zu are allowed", count, max);
    else if (count < (size_t)field->min)
        err_set(walk->err, "has %zu entr%s, at least %lld needed", count, count == 1 ? "y" : "ies",
                (long long)field->min);
    else
        return 0;
    return located(walk, place);
}

static int decode_strings(struct walk *walk, const struct config_field *field,
                          const struct config_node *node, struct config_list *out,
                          const struct place *place)
{
    const struct config_field item = {.kind = CONFIG_STRING, .secret = field->secret};
    bool single = node->kind == CONFIG_NODE_SCALAR;
    size_t count = single ? 1 : node->count;

    if (node->kind == CONFIG_NODE_MAP) {
        err_set(walk->err, "must be a list of texts, not a section");
        return located(walk, place);
    }
    if (check_count(walk, field, count, place) != 0)
        return -1;
    const char **items = config_arena_alloc(walk->arena, count * sizeof(*items));
    const struct config_node *at = single ? node : node->first;
    for (size_t i = 0; i < count; i++, at = at->next) {
        const struct place here = {.up = place, .name = "[]", .index = i, .line = at->line};
        if (decode_scalar(walk, &item, at, &items[i], &here) != 0)
            return -1;
    }
    *out = (struct config_list){.items = items, .count = count};
    return 0;
}

static char *escape_dollars(struct walk *walk, const char *text, size_t len)
{
    AUTO_BUF struct buf out = {0};

    for (size_t i = 0; i < len; i++)
        buf_puts(&out, text[i] == '$' ? "$$" : (char[]){text[i], '\0'});
    return config_arena_strndup(walk->arena, out.len > 0 ? out.data : "", out.len);
}

/* "a, b" instead of [a, b], so that one variable can name several. What came out of a variable is
 * not expanded again. */
static int split_scalar(struct walk *walk, const struct config_node *node, struct config_node *out,
                        const struct place *place)
{
    const char *text;
    bool expanded;

    if (expand(walk, node, &text, &expanded, place) != 0)
        return -1;
    *out = (struct config_node){.kind = CONFIG_NODE_LIST, .line = node->line};
    for (const char *at = text; *at != '\0';) {
        at += strspn(at, " ,");
        size_t len = strcspn(at, ",");
        const char *next = at + len;
        while (len > 0 && at[len - 1] == ' ')
            len--;
        if (len > 0) {
            struct config_node *item = config_arena_alloc(walk->arena, sizeof(*item));
            item->line = node->line;
            item->text = escape_dollars(walk, at, len);
            item->len = strlen(item->text);
            if (out->last != NULL)
                out->last->next = item;
            else
                out->first = item;
            out->last = item;
            out->count++;
        }
        at = next;
    }
    return 0;
}

static int decode_items(struct walk *walk, const struct config_field *field,
                        const struct config_node *node, struct config_list *out,
                        const struct place *place)
{
    bool map = field->kind == CONFIG_MAP;
    struct config_node split;

    if (!map && node->kind == CONFIG_NODE_SCALAR && field->section->scalar_field != NULL) {
        if (split_scalar(walk, node, &split, place) != 0)
            return -1;
        node = &split;
    }
    if (node->kind != (map ? CONFIG_NODE_MAP : CONFIG_NODE_LIST)) {
        err_set(walk->err, map ? "must be a map of sections by name"
                               : "must be a list; each entry starts with a dash");
        return located(walk, place);
    }
    if (check_count(walk, field, node->count, place) != 0)
        return -1;
    char *items = config_arena_alloc(walk->arena, node->count * field->section->size);
    const struct config_node *at = node->first;
    for (size_t i = 0; i < node->count; i++, at = at->next) {
        char *item = items + i * field->section->size;
        const struct place here = {
            .up = place, .name = map ? at->key->text : "[]", .index = i, .line = at->line};
        if (map)
            memcpy(item, &at->key->text, sizeof(at->key->text));
        if (decode_section(walk, field->section, at, NULL, item, &here) != 0)
            return -1;
    }
    *out = (struct config_list){.items = items, .count = node->count};
    return 0;
}

static int decode_optional(struct walk *walk, const struct config_field *field,
                           const struct config_node *node, void *out, const struct place *place)
{
    void *section = config_arena_alloc(walk->arena, field->section->size);

    memcpy(out, &section, sizeof(section));
    return decode_section(walk, field->section, node, field->fallback, section, place);
}

static int decode_value(struct walk *walk, const struct config_field *field,
                        const struct config_node *node, void *out, const struct place *place)
{
    switch (field->kind) {
    case CONFIG_STRING:
    case CONFIG_BOOL:
    case CONFIG_INT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
    case CONFIG_RATE:
    case CONFIG_PERCENT:
    case CONFIG_FLOAT:
    case CONFIG_ENUM:
        return decode_scalar(walk, field, node, out, place);
    case CONFIG_STRINGS:
        return decode_strings(walk, field, node, out, place);
    case CONFIG_SECTION:
        return decode_section(walk, field->section, node, field->fallback, out, place);
    case CONFIG_OPTIONAL:
        return decode_optional(walk, field, node, out, place);
    case CONFIG_LIST:
    case CONFIG_MAP:
        return decode_items(walk, field, node, out, place);
    }
    return -1;
}

/* The field as if its key were not there. */
static int decode_absent(struct walk *walk, const struct config_field *field, void *out,
                         const struct place *place)
{
    const struct config_node *node = NULL;

    if (field->required) {
        err_set(walk->err, "is missing");
        return located(walk, place);
    }
    if (field->kind == CONFIG_SECTION)
        return decode_section(walk, field->section, NULL, field->fallback, out, place);
    if (field->kind == CONFIG_OPTIONAL)
        return 0;
    if (field->fallback != NULL) {
        if (fallback_node(walk, field, &node, place) != 0)
            return -1;
        if (node != NULL)
            return decode_value(walk, field, node, out, place);
    }
    if (field->kind == CONFIG_STRING) {
        static const char *const empty = "";
        memcpy(out, &empty, sizeof(empty));
    }
    return field->kind == CONFIG_LIST || field->kind == CONFIG_MAP || field->kind == CONFIG_STRINGS
               ? check_count(walk, field, 0, place)
               : 0;
}

static int decode_field(struct walk *walk, const struct config_field *field,
                        const struct config_node *node, void *section, const struct place *place)
{
    char *out = (char *)section + field->offset;
    bool absent = node == NULL || (config_node_null(node) && field->kind != CONFIG_OPTIONAL);
    const struct place here = {
        .up = place, .name = field->name, .line = node != NULL ? node->line : place->line};

    return absent ? decode_absent(walk, field, out, &here)
                  : decode_value(walk, field, node, out, &here);
}

static const struct config_field *field_named(const struct config_schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->count; i++)
        if (strcmp(schema->fields[i].name, name) == 0)
            return &schema->fields[i];
    return NULL;
}

static int unknown_key(struct walk *walk, const struct config_schema *schema,
                       const struct config_node *key, const struct place *place)
{
    const struct place here = {.up = place, .name = key->text, .line = key->line};
    AUTO_BUF struct buf known = {.max = 250};

    for (size_t i = 0; i < schema->count && known.len < 200; i++)
        buf_printf(&known, "%s%s", i > 0 ? ", " : "", schema->fields[i].name);
    err_set(walk->err, "there is no such key here; known are: %s",
            known.data != NULL ? known.data : "none");
    return located(walk, &here);
}

static const struct config_node *member(const struct config_node *node, const char *name)
{
    if (node == NULL || node->kind != CONFIG_NODE_MAP)
        return NULL;
    for (const struct config_node *at = node->first; at != NULL; at = at->next)
        if (strcmp(at->key->text, name) == 0)
            return at;
    return NULL;
}

static int check_keys(struct walk *walk, const struct config_schema *schema,
                      const struct config_node *node, const struct place *place)
{
    if (node == NULL || node->kind != CONFIG_NODE_MAP)
        return 0;
    for (const struct config_node *at = node->first; at != NULL; at = at->next)
        if (field_named(schema, at->key->text) == NULL)
            return unknown_key(walk, schema, at->key, place);
    return 0;
}

/* A section may be written as a scalar that sets one field; anything else must be a map. */
static int check_shape(struct walk *walk, const struct config_schema *schema,
                       const struct config_node *node, const struct place *place)
{
    if (node == NULL || node->kind == CONFIG_NODE_MAP || config_node_null(node))
        return 0;
    if (node->kind == CONFIG_NODE_SCALAR && schema->scalar_field != NULL)
        return 0;
    err_set(walk->err, "must be a section of keys: %s", schema->name);
    return located(walk, place);
}

/* The default that a parent's row gives to the section's scalar field. */
static int scalar_fallback(struct walk *walk, const struct config_field *field,
                           const char *fallback, void *section, const struct place *place)
{
    struct config_field changed = *field;

    changed.fallback = fallback;
    changed.required = false;
    return decode_field(walk, &changed, NULL, section, place);
}

static int decode_section(struct walk *walk, const struct config_schema *schema,
                          const struct config_node *node, const char *fallback, void *section,
                          const struct place *place)
{
    bool scalar = node != NULL && node->kind == CONFIG_NODE_SCALAR && !config_node_null(node);

    if (check_shape(walk, schema, node, place) != 0 || check_keys(walk, schema, node, place) != 0)
        return -1;
    for (size_t i = 0; i < schema->count; i++) {
        const struct config_field *field = &schema->fields[i];
        bool is_scalar_field =
            schema->scalar_field != NULL && strcmp(field->name, schema->scalar_field) == 0;
        const struct config_node *value =
            scalar && is_scalar_field ? node : member(node, field->name);
        int result = value == NULL && is_scalar_field && fallback != NULL
                         ? scalar_fallback(walk, field, fallback, section, place)
                         : decode_field(walk, field, value, section, place);
        if (result != 0)
            return -1;
    }
    if (schema->check != NULL && schema->check(section, walk->err) != 0)
        return located(walk, place);
    return 0;
}

static int build(const char *name, const char *text, size_t len, const struct config_schema *schema,
                 struct config *config, struct err *err)
{
    struct walk walk = {.arena = config->arena, .file = name, .err = err};
    struct config_node *root = NULL;

    if (config_tree_parse(config->arena, name, text, len, &root, err) != 0)
        return -1;
    const struct place place = {.line = root != NULL ? root->line : 1};
    config->root = config_arena_alloc(config->arena, schema->size);
    return decode_section(&walk, schema, root, NULL, config->root, &place);
}

/* FNV-1a. */
static uint64_t fingerprint(const char *text, size_t len)
{
    uint64_t hash = 14695981039346656037U;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211U;
    return hash;
}

int config_parse(const char *name, const char *text, size_t len, const struct config_schema *schema,
                 struct config **out, struct err *err)
{
    struct err ignored;
    struct config *config = mem_zalloc(sizeof(*config));

    config->arena = config_arena_new();
    config->fingerprint = fingerprint(text, len);
    atomic_init(&config->owners, 1);
    if (build(name, text, len, schema, config, err != NULL ? err : &ignored) != 0) {
        config_free(&config);
        return -1;
    }
    *out = config;
    return 0;
}

int config_load(const char *path, const struct config_schema *schema, struct config **out,
                struct err *err)
{
    AUTO_FREE char *text = NULL;
    size_t len;

    if (config_read_file(path, CONFIG_MAX_BYTES, false, &text, &len, err) != 0)
        return -1;
    int result = config_parse(path, text, len, schema, out, err);
    mem_wipe(text, len);
    return result;
}

int config_defaults(const struct config_schema *schema, struct config **out, struct err *err)
{
    return config_parse("defaults", "", 0, schema, out, err);
}

void *config_root(struct config *config)
{
    return config->root;
}

uint64_t config_fingerprint(const struct config *config)
{
    return config->fingerprint;
}

struct config *config_share(struct config *config)
{
    atomic_fetch_add(&config->owners, 1);
    return config;
}

void config_free(struct config **config)
{
    struct config *mine = MEM_STEAL(*config);

    if (mine == NULL || atomic_fetch_sub(&mine->owners, 1) > 1)
        return;
    config_arena_free(&mine->arena);
    free(mine);
}
