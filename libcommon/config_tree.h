/* A YAML text as a tree with the line of each node, and the memory that a configuration lives in.
 * For config*.c, and for who names lines of such a file. */
#ifndef LIBCOMMON_CONFIG_TREE_H
#define LIBCOMMON_CONFIG_TREE_H

#include "libcommon/err.h"

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_MAX_BYTES  (4 * 1024 * 1024)
#define CONFIG_MAX_DEPTH  32
#define CONFIG_MAX_NODES  500000
#define CONFIG_MAX_SCALAR (64 * 1024)

struct config_arena;
struct config_arena *config_arena_new(void);
/* Zeroed, aligned for anything; lives until the arena is freed. */
void *config_arena_alloc(struct config_arena *arena, size_t size);
char *config_arena_strndup(struct config_arena *arena, const char *text, size_t len);
/* Overwrites before it frees: secrets are among the values. */
void config_arena_free(struct config_arena **arena);

enum config_node_kind { CONFIG_NODE_SCALAR, CONFIG_NODE_LIST, CONFIG_NODE_MAP };

struct config_node {
    enum config_node_kind kind;
    unsigned line; /* from 1 */
    bool plain;    /* scalar without quotes */
    const char *text;
    size_t len;
    struct config_node *key;   /* member of a map: its key, a scalar */
    struct config_node *first; /* of a list or map, in order */
    struct config_node *last;
    struct config_node *next;
    size_t count;
};

/* *out is NULL for an empty document. Anchors, aliases, tags, more than one document and repeated
 * keys are refused. Errors start with "name:line: ". */
int config_tree_parse(struct config_arena *arena, const char *name, const char *text, size_t len,
                      struct config_node **out, struct err *err) MUST_USE;

/* Whether it stands for "nothing": an empty plain scalar, ~ or null. */
bool config_node_null(const struct config_node *node);

/* Expands ${VAR}, ${VAR:-default}, ${file:/path} and $$ of a scalar. *expanded tells whether
 * anything was put in; the result lives in the arena. Never shows a value in an error. */
int config_expand(struct config_arena *arena, const char *text, size_t len, const char **out,
                  bool *expanded, struct err *err) MUST_USE;

/* The whole of a file of at most max bytes; *out is the caller's, NUL-terminated. */
int config_read_file(const char *path, size_t max, bool regular, char **out, size_t *len,
                     struct err *err) MUST_USE;

#endif
