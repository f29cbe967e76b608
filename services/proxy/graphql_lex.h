/* Tokens of a GraphQL document (specification of October 2021, section 2.1). The reader owns
 * nothing: tokens are slices of the text. */
#ifndef PROXY_GRAPHQL_LEX_H
#define PROXY_GRAPHQL_LEX_H

#include <stdbool.h>
#include <stddef.h>

enum graphql_token_kind {
    GRAPHQL_END,
    GRAPHQL_BAD,    /* not a token of the language */
    GRAPHQL_PUNCT,  /* one of ! $ & ( ) : = @ [ ] { | } in text[0] */
    GRAPHQL_SPREAD, /* ... */
    GRAPHQL_NAME,
    GRAPHQL_INT,
    GRAPHQL_FLOAT,
    GRAPHQL_STRING,
};

struct graphql_token {
    enum graphql_token_kind kind;
    const char *text;
    size_t len;
};

struct graphql_reader {
    const char *text;
    size_t len, at;
    struct graphql_token token; /* the one at hand; `at` is behind it */
};

void graphql_reader_init(struct graphql_reader *reader, const char *text, size_t len, size_t at);
/* On to the next token. */
void graphql_next(struct graphql_reader *reader);
bool graphql_is_punct(const struct graphql_reader *reader, char c);
bool graphql_is_name(const struct graphql_reader *reader, const char *name);
/* Where the token at hand begins. */
size_t graphql_token_at(const struct graphql_reader *reader);

#endif
