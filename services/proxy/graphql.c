/* Reads a document twice: once whole, against the grammar, noting where operations and fragments
 * stand; and once from the operation that is asked for, adding up. A fragment is weighed once and
 * remembered, so that spreading it a thousand times costs one look each. */
#include "services/proxy/graphql.h"

#include "services/proxy/graphql_lex.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum part_state { PART_UNSEEN, PART_OPEN, PART_WEIGHED };

struct part {
    const char *name; /* NULL: none */
    size_t name_len;
    bool fragment;
    enum graphql_kind kind;
    size_t variables; /* where its variable definitions stand; 0: none */
    size_t selection; /* where its selection set stands */
    enum part_state state;
    int64_t cost;
    unsigned depth;
};

struct document {
    const char *text;
    size_t len;
    const json_t *variables;
    const struct part *operation; /* that is weighed */
    struct part *parts;
    size_t count;
    struct err *err;
};

static int wrong(struct document *document, const struct graphql_reader *reader, const char *what)
{
    size_t line = 1;
    for (const char *c = reader->text; c < reader->token.text; c++)
        line += *c == '\n';
    return err_set(document->err, "the GraphQL document: %s, in line %zu", what, line);
}

static int expect(struct document *document, struct graphql_reader *reader, char c)
{
    if (!graphql_is_punct(reader, c)) {
        char what[32] = "' ' is expected";
        what[1] = c;
        return wrong(document, reader, what);
    }
    graphql_next(reader);
    return 0;
}

static int name(struct document *document, struct graphql_reader *reader)
{
    if (reader->token.kind != GRAPHQL_NAME)
        return wrong(document, reader, "a name is expected");
    graphql_next(reader);
    return 0;
}

static int value(struct document *document, struct graphql_reader *reader, unsigned nest);

static int list(struct document *document, struct graphql_reader *reader, unsigned nest)
{
    graphql_next(reader);
    while (!graphql_is_punct(reader, ']'))
        if (value(document, reader, nest))
            return -1;
    graphql_next(reader);
    return 0;
}

static int object(struct document *document, struct graphql_reader *reader, unsigned nest)
{
    graphql_next(reader);
    while (!graphql_is_punct(reader, '}'))
        if (name(document, reader) || expect(document, reader, ':') ||
            value(document, reader, nest))
            return -1;
    graphql_next(reader);
    return 0;
}

static int value(struct document *document, struct graphql_reader *reader, unsigned nest)
{
    if (nest == 0)
        return wrong(document, reader, "it is nested too deep");
    if (graphql_is_punct(reader, '['))
        return list(document, reader, nest - 1);
    if (graphql_is_punct(reader, '{'))
        return object(document, reader, nest - 1);
    if (graphql_is_punct(reader, '$')) {
        graphql_next(reader);
        return name(document, reader);
    }
    switch (reader->token.kind) {
    case GRAPHQL_NAME:
    case GRAPHQL_INT:
    case GRAPHQL_FLOAT:
    case GRAPHQL_STRING:
        graphql_next(reader);
        return 0;
    case GRAPHQL_END:
    case GRAPHQL_BAD:
    case GRAPHQL_PUNCT:
    case GRAPHQL_SPREAD:
        break;
    }
    return wrong(document, reader, "a value is expected");
}

/* The number that the value at hand stands for: a literal, or a variable's. 1 where it is none. */
static int64_t number_of(const struct document *document, const struct graphql_reader *at);

static bool bounds_a_list(const struct graphql_reader *reader)
{
    return graphql_is_name(reader, "first") || graphql_is_name(reader, "last") ||
           graphql_is_name(reader, "limit");
}

/* *times: by how much the arguments multiply what stands below; NULL: only the grammar counts. */
static int arguments(struct document *document, struct graphql_reader *reader, int64_t *times)
{
    if (!graphql_is_punct(reader, '('))
        return 0;
    graphql_next(reader);
    do {
        bool bound = bounds_a_list(reader);
        if (name(document, reader) || expect(document, reader, ':'))
            return -1;
        int64_t number = bound && times ? number_of(document, reader) : 1;
        if (times && number > *times)
            *times = number;
        if (value(document, reader, GRAPHQL_NEST_MAX))
            return -1;
    } while (!graphql_is_punct(reader, ')'));
    graphql_next(reader);
    return 0;
}

static int directives(struct document *document, struct graphql_reader *reader)
{
    while (graphql_is_punct(reader, '@')) {
        graphql_next(reader);
        if (name(document, reader) || arguments(document, reader, NULL))
            return -1;
    }
    return 0;
}

static struct part *find_fragment(struct document *document, const struct graphql_token *token)
{
    for (size_t i = 0; i < document->count; i++) {
        struct part *part = &document->parts[i];
        if (part->fragment && part->name_len == token->len &&
            memcmp(part->name, token->text, token->len) == 0)
            return part;
    }
    return NULL;
}

static int64_t add(int64_t a, int64_t b)
{
    return a + b < GRAPHQL_COST_MAX ? a + b : GRAPHQL_COST_MAX;
}

static int64_t multiply(int64_t a, int64_t b)
{
    int64_t product;
    if (__builtin_mul_overflow(a, b, &product) || product > GRAPHQL_COST_MAX)
        return GRAPHQL_COST_MAX;
    return product;
}

struct sum {
    bool weighing; /* or only read, against the grammar */
    int64_t cost;
    unsigned depth;
};

/* A fragment's fields stand in the selection that it is spread in: it adds no level. */
static void merge(struct sum *sum, int64_t cost, unsigned depth)
{
    sum->cost = add(sum->cost, cost);
    sum->depth = depth - 1 > sum->depth ? depth - 1 : sum->depth;
}

static int selection(struct document *document, struct graphql_reader *reader, unsigned nest,
                     struct sum *sum);

static int weigh_fragment(struct document *document, struct graphql_reader *reader, unsigned nest,
                          struct part *part)
{
    struct graphql_reader inside;
    struct sum sum = {.weighing = true};
    if (part->state == PART_OPEN)
        return wrong(document, reader, "a fragment contains itself");
    if (part->state == PART_WEIGHED)
        return 0;
    part->state = PART_OPEN;
    graphql_reader_init(&inside, document->text, document->len, part->selection);
    if (selection(document, &inside, nest, &sum))
        return -1;
    part->state = PART_WEIGHED;
    part->cost = sum.cost;
    part->depth = sum.depth;
    return 0;
}

static int spread(struct document *document, struct graphql_reader *reader, unsigned nest,
                  struct sum *sum)
{
    struct part *part = sum->weighing ? find_fragment(document, &reader->token) : NULL;
    if (sum->weighing) {
        if (!part)
            return wrong(document, reader, "a fragment is spread that is not there");
        if (weigh_fragment(document, reader, nest, part))
            return -1;
        merge(sum, part->cost, part->depth);
    }
    graphql_next(reader);
    return directives(document, reader);
}

static int inline_fragment(struct document *document, struct graphql_reader *reader, unsigned nest,
                           struct sum *sum)
{
    struct sum inside = {.weighing = sum->weighing};
    if (graphql_is_name(reader, "on")) {
        graphql_next(reader);
        if (name(document, reader))
            return -1;
    }
    if (directives(document, reader) || selection(document, reader, nest, &inside))
        return -1;
    merge(sum, inside.cost, inside.depth);
    return 0;
}

static int field(struct document *document, struct graphql_reader *reader, unsigned nest,
                 struct sum *sum)
{
    struct sum inside = {.weighing = sum->weighing};
    int64_t times = 1;
    if (name(document, reader))
        return -1;
    if (graphql_is_punct(reader, ':')) {
        graphql_next(reader);
        if (name(document, reader))
            return -1;
    }
    if (arguments(document, reader, sum->weighing ? &times : NULL) || directives(document, reader))
        return -1;
    if (graphql_is_punct(reader, '{') && selection(document, reader, nest, &inside))
        return -1;
    sum->cost = add(sum->cost, add(1, multiply(times, inside.cost)));
    sum->depth = inside.depth > sum->depth ? inside.depth : sum->depth;
    return 0;
}

static int member(struct document *document, struct graphql_reader *reader, unsigned nest,
                  struct sum *sum)
{
    if (reader->token.kind != GRAPHQL_SPREAD)
        return field(document, reader, nest, sum);
    graphql_next(reader);
    if (reader->token.kind == GRAPHQL_NAME && !graphql_is_name(reader, "on"))
        return spread(document, reader, nest, sum);
    return inline_fragment(document, reader, nest, sum);
}

static int selection(struct document *document, struct graphql_reader *reader, unsigned nest,
                     struct sum *sum)
{
    if (nest == 0)
        return wrong(document, reader, "it is nested too deep");
    if (expect(document, reader, '{'))
        return -1;
    do {
        if (member(document, reader, nest - 1, sum))
            return -1;
    } while (!graphql_is_punct(reader, '}'));
    graphql_next(reader);
    sum->depth++;
    return 0;
}

static int type(struct document *document, struct graphql_reader *reader)
{
    unsigned open = 0;
    for (; graphql_is_punct(reader, '['); open++)
        graphql_next(reader);
    if (name(document, reader))
        return -1;
    for (;;) {
        if (graphql_is_punct(reader, '!'))
            graphql_next(reader);
        if (open == 0)
            return 0;
        if (expect(document, reader, ']'))
            return -1;
        open--;
    }
}

static int variable_definition(struct document *document, struct graphql_reader *reader)
{
    if (expect(document, reader, '$') || name(document, reader) || expect(document, reader, ':') ||
        type(document, reader))
        return -1;
    if (graphql_is_punct(reader, '=')) {
        graphql_next(reader);
        if (value(document, reader, GRAPHQL_NEST_MAX))
            return -1;
    }
    return directives(document, reader);
}

static int variable_definitions(struct document *document, struct graphql_reader *reader)
{
    if (!graphql_is_punct(reader, '('))
        return 0;
    graphql_next(reader);
    do {
        if (variable_definition(document, reader))
            return -1;
    } while (!graphql_is_punct(reader, ')'));
    graphql_next(reader);
    return 0;
}

static int64_t bound(double number)
{
    if (number <= 1)
        return 1;
    return number < (double)GRAPHQL_COST_MAX ? (int64_t)ceil(number) : GRAPHQL_COST_MAX;
}

static int64_t literal(const struct graphql_token *token)
{
    char text[32];
    if (token->kind != GRAPHQL_INT && token->kind != GRAPHQL_FLOAT)
        return 1;
    if (token->len >= sizeof(text))
        return token->text[0] == '-' ? 1 : GRAPHQL_COST_MAX;
    memcpy(text, token->text, token->len);
    text[token->len] = '\0';
    return bound(strtod(text, NULL));
}

/* Servers take 1e3 for an integer, and some of them "1000" too. */
static int64_t given_number(const json_t *given)
{
    return bound(json_is_string(given) ? strtod(json_string_value(given), NULL)
                                       : json_number_value(given));
}

/* The default of the variable in `token`, where its definition has one. */
static int64_t default_of(const struct document *document, const struct graphql_token *token)
{
    struct graphql_reader reader;
    if (!document->operation->variables)
        return 1;
    graphql_reader_init(&reader, document->text, document->len, document->operation->variables);
    while (graphql_token_at(&reader) < document->operation->selection) {
        bool dollar = graphql_is_punct(&reader, '$');
        graphql_next(&reader);
        if (!dollar || reader.token.len != token->len ||
            memcmp(reader.token.text, token->text, token->len) != 0)
            continue;
        /* On to what follows its type: a default, or the next definition. */
        while (!graphql_is_punct(&reader, '=') && !graphql_is_punct(&reader, '$') &&
               !graphql_is_punct(&reader, ')'))
            graphql_next(&reader);
        if (!graphql_is_punct(&reader, '='))
            return 1;
        graphql_next(&reader);
        return literal(&reader.token);
    }
    return 1;
}

static int64_t number_of(const struct document *document, const struct graphql_reader *at)
{
    struct graphql_reader reader = *at;
    if (!graphql_is_punct(&reader, '$'))
        return literal(&reader.token);
    graphql_next(&reader);
    const struct graphql_token *token = &reader.token;
    const json_t *given =
        document->variables ? json_object_getn(document->variables, token->text, token->len) : NULL;
    if (!given)
        return default_of(document, token);
    return given_number(given);
}

static int operation_head(struct document *document, struct graphql_reader *reader,
                          struct part *part)
{
    static const char *const words[] = {"query", "mutation", "subscription"};
    size_t kind = 0;
    while (kind < ARRAY_LEN(words) && !graphql_is_name(reader, words[kind]))
        kind++;
    if (kind == ARRAY_LEN(words))
        return wrong(document, reader, "an operation or a fragment is expected");
    part->kind = (enum graphql_kind)kind;
    graphql_next(reader);
    if (reader->token.kind == GRAPHQL_NAME) {
        part->name = reader->token.text;
        part->name_len = reader->token.len;
        graphql_next(reader);
    }
    part->variables = graphql_is_punct(reader, '(') ? graphql_token_at(reader) : 0;
    return variable_definitions(document, reader);
}

static int fragment_head(struct document *document, struct graphql_reader *reader,
                         struct part *part)
{
    graphql_next(reader);
    part->fragment = true;
    part->name = reader->token.text;
    part->name_len = reader->token.len;
    if (graphql_is_name(reader, "on"))
        return wrong(document, reader, "a fragment cannot be named on");
    if (name(document, reader))
        return -1;
    if (!graphql_is_name(reader, "on"))
        return wrong(document, reader, "'on' is expected");
    graphql_next(reader);
    return name(document, reader);
}

static int definition(struct document *document, struct graphql_reader *reader)
{
    struct sum sum = {.weighing = false};
    if (document->count == GRAPHQL_PARTS_MAX)
        return wrong(document, reader, "there are too many operations and fragments");
    struct part *part = &document->parts[document->count];
    *part = (struct part){.kind = GRAPHQL_QUERY};
    if (graphql_is_name(reader, "fragment")) {
        if (fragment_head(document, reader, part))
            return -1;
        struct graphql_token named = {GRAPHQL_NAME, part->name, part->name_len};
        if (find_fragment(document, &named))
            return wrong(document, reader, "a fragment is there twice");
    } else if (!graphql_is_punct(reader, '{') && operation_head(document, reader, part)) {
        return -1;
    }
    if (directives(document, reader))
        return -1;
    part->selection = graphql_token_at(reader);
    document->count++;
    return selection(document, reader, GRAPHQL_NEST_MAX, &sum);
}

static int choose(struct document *document, const char *wanted)
{
    bool any = !wanted || !*wanted;
    size_t found = 0;
    for (size_t i = 0; i < document->count; i++) {
        const struct part *part = &document->parts[i];
        if (part->fragment || (!any && (!part->name || part->name_len != strlen(wanted) ||
                                        memcmp(part->name, wanted, part->name_len) != 0)))
            continue;
        document->operation = part;
        found++;
    }
    if (found == 0)
        return err_set(document->err, any ? "the GraphQL document has no operation"
                                          : "the GraphQL document has no operation of this name");
    if (found > 1)
        return err_set(document->err, any ? "operationName does not say which operation is meant"
                                          : "two operations have the same name");
    return 0;
}

int graphql_weigh(const char *text, size_t len, const char *wanted, const json_t *variables,
                  struct graphql_weight *out, struct err *err)
{
    struct graphql_reader reader;
    struct sum sum = {.weighing = true};
    if (len > GRAPHQL_TEXT_MAX)
        return err_set(err, "the GraphQL document is longer than %d bytes", GRAPHQL_TEXT_MAX);
    AUTO_FREE struct part *parts = mem_array(GRAPHQL_PARTS_MAX, sizeof(*parts));
    struct document document = {
        .text = text, .len = len, .variables = variables, .parts = parts, .err = err};
    graphql_reader_init(&reader, text, len, 0);
    do {
        if (definition(&document, &reader))
            return -1;
    } while (reader.token.kind != GRAPHQL_END);
    if (choose(&document, wanted))
        return -1;
    graphql_reader_init(&reader, text, len, document.operation->selection);
    if (selection(&document, &reader, GRAPHQL_NEST_MAX, &sum))
        return -1;
    *out = (struct graphql_weight){document.operation->kind, sum.cost, sum.depth};
    return 0;
}
