/* Owns the reading of YAML: libyaml's events become a tree whose nodes know their line. Everything
 * in YAML that makes a text mean more than it says (aliases, tags, merge keys, several documents)
 * is refused, because a configuration must be bounded and read the same by everybody. */
#include "libcommon/config_tree.h"

#include "libcommon/mem.h"

#include <stdint.h>
#include <string.h>
#include <yaml.h>

#define BLOCK_SIZE 16384

struct block {
    struct block *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) char data[];
};

struct config_arena {
    struct block *blocks;
};

struct config_arena *config_arena_new(void)
{
    return mem_zalloc(sizeof(struct config_arena));
}

void *config_arena_alloc(struct config_arena *arena, size_t size)
{
    size_t need = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct block *block = arena->blocks;

    if (block == NULL || block->size - block->used < need) {
        size_t room = need > BLOCK_SIZE ? need : BLOCK_SIZE;
        block = mem_zalloc(sizeof(*block) + room);
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *ptr = block->data + block->used;
    block->used += need;
    return ptr;
}

char *config_arena_strndup(struct config_arena *arena, const char *text, size_t len)
{
    char *copy = config_arena_alloc(arena, len + 1);

    if (len > 0)
        memcpy(copy, text, len);
    return copy;
}

void config_arena_free(struct config_arena **arena)
{
    if (*arena == NULL)
        return;
    while ((*arena)->blocks != NULL) {
        struct block *block = (*arena)->blocks;
        (*arena)->blocks = block->next;
        mem_wipe(block->data, block->used);
        free(block);
    }
    free(*arena);
    *arena = NULL;
}

struct reader {
    yaml_parser_t parser;
    struct config_arena *arena;
    const char *name;
    struct err *err;
    unsigned nodes;
    unsigned depth;
    struct config_node *open[CONFIG_MAX_DEPTH];
    struct config_node *keys[CONFIG_MAX_DEPTH];
    struct config_node *root;
};

static unsigned line_of(yaml_mark_t mark)
{
    return (unsigned)mark.line + 1;
}

static int refuse(struct reader *reader, unsigned line, const char *what)
{
    return err_set(reader->err, "%s:%u: %s", reader->name, line, what);
}

static int syntax_error(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    unsigned line = line_of(parser->problem_mark);

    if (parser->error == YAML_READER_ERROR)
        return err_set(reader->err, "%s: not UTF-8 text at byte %zu: %s", reader->name,
                       parser->problem_offset, problem);
    if (parser->context != NULL)
        return err_set(reader->err, "%s:%u: %s %s (from line %u)", reader->name, line, problem,
                       parser->context, line_of(parser->context_mark));
    return refuse(reader, line, problem);
}

/* Puts a finished or just opened node where it belongs. */
static int attach(struct reader *reader, struct config_node *node)
{
    if (reader->depth == 0) {
        reader->root = node;
        return 0;
    }
    struct config_node *parent = reader->open[reader->depth - 1];
    if (parent->kind == CONFIG_NODE_MAP && reader->keys[reader->depth - 1] == NULL) {
        if (node->kind != CONFIG_NODE_SCALAR)
            return refuse(reader, node->line, "a key must be a plain word");
        reader->keys[reader->depth - 1] = node;
        return 0;
    }
    node->key = reader->keys[reader->depth - 1];
    reader->keys[reader->depth - 1] = NULL;
    if (parent->last != NULL)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
    return 0;
}

static int node_new(struct reader *reader, const yaml_event_t *event, enum config_node_kind kind,
                    struct config_node **out)
{
    if (++reader->nodes > CONFIG_MAX_NODES)
        return refuse(reader, line_of(event->start_mark), "too many values (at most 500000)");
    *out = config_arena_alloc(reader->arena, sizeof(**out));
    (*out)->kind = kind;
    (*out)->line = line_of(event->start_mark);
    return 0;
}

static int open_node(struct reader *reader, const yaml_event_t *event, enum config_node_kind kind)
{
    struct config_node *node;

    if (reader->depth == CONFIG_MAX_DEPTH)
        return refuse(reader, line_of(event->start_mark), "nested too deep (at most 32 levels)");
    if (node_new(reader, event, kind, &node) != 0 || attach(reader, node) != 0)
        return -1;
    reader->keys[reader->depth] = NULL;
    reader->open[reader->depth++] = node;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct config_node *const *left = a;
    const struct config_node *const *right = b;
    int order = strcmp((*left)->key->text, (*right)->key->text);

    return order != 0 ? order : (*left)->key->line < (*right)->key->line ? -1 : 1;
}

static int check_repeated(struct reader *reader, const struct config_node *map)
{
    AUTO_FREE const struct config_node **members = mem_array(map->count, sizeof(*members));
    size_t count = 0;

    for (const struct config_node *node = map->first; node != NULL; node = node->next)
        members[count++] = node;
    qsort(members, count, sizeof(*members), compare_keys);
    for (size_t i = 1; i < count; i++)
        if (strcmp(members[i - 1]->key->text, members[i]->key->text) == 0)
            return err_set(reader->err, "%s:%u: %.100s: this key stands twice (first on line %u)",
                           reader->name, members[i]->key->line, members[i]->key->text,
                           members[i - 1]->key->line);
    return 0;
}

static int close_node(struct reader *reader)
{
    struct config_node *node = reader->open[--reader->depth];

    return node->kind == CONFIG_NODE_MAP ? check_repeated(reader, node) : 0;
}

static int add_scalar(struct reader *reader, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    unsigned line = line_of(event->start_mark);
    struct config_node *node;

    if (len > CONFIG_MAX_SCALAR)
        return refuse(reader, line, "a value is longer than 64 KiB");
    if (memchr(text, '\0', len) != NULL)
        return refuse(reader, line, "a value contains a NUL character");
    if (node_new(reader, event, CONFIG_NODE_SCALAR, &node) != 0)
        return -1;
    node->text = config_arena_strndup(reader->arena, text, len);
    node->len = len;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return attach(reader, node);
}

/* What gives a text a meaning besides its own. */
static int check_plainness(struct reader *reader, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;

    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor != NULL || event->type == YAML_ALIAS_EVENT)
        return refuse(reader, line_of(event->start_mark),
                      "anchors and aliases (&, *) are not allowed; quote a value that starts so");
    if (tag != NULL)
        return refuse(reader, line_of(event->start_mark),
                      "tags (!) are not allowed; quote a value that starts so");
    return 0;
}

static int take_event(struct reader *reader, const yaml_event_t *event)
{
    if (check_plainness(reader, event) != 0)
        return -1;
    switch ((int)event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (reader->root != NULL)
            return refuse(reader, line_of(event->start_mark), "one document (---) is allowed");
        return 0;
    case YAML_SCALAR_EVENT:
        return add_scalar(reader, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(reader, event, CONFIG_NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        return open_node(reader, event, CONFIG_NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_node(reader);
    default:
        return 0;
    }
}

static int read_events(struct reader *reader)
{
    for (;;) {
        yaml_event_t event;
        if (yaml_parser_parse(&reader->parser, &event) == 0)
            return syntax_error(reader);
        bool end = event.type == YAML_STREAM_END_EVENT;
        int result = take_event(reader, &event);
        yaml_event_delete(&event);
        if (result != 0 || end)
            return result;
    }
}

int config_tree_parse(struct config_arena *arena, const char *name, const char *text, size_t len,
                      struct config_node **out, struct err *err)
{
    struct reader reader = {.arena = arena, .name = name, .err = err};

    if (len > CONFIG_MAX_BYTES)
        return err_set(err, "%s: larger than 4 MiB", name);
    if (yaml_parser_initialize(&reader.parser) == 0)
        abort();
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    int result = read_events(&reader);
    yaml_parser_delete(&reader.parser);
    *out = result == 0 ? reader.root : NULL;
    return result;
}

bool config_node_null(const struct config_node *node)
{
    return node->kind == CONFIG_NODE_SCALAR && node->plain &&
           (node->len == 0 || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}
