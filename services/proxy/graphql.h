/* What a GraphQL operation weighs, without knowing the schema. Each field costs 1; a field whose
 * arguments bound a list (first, last, limit) multiplies what stands below it by that number,
 * however it is written.
 * Fragments weigh where they are spread; directives do not make anything lighter. Grammar:
 * GraphQL specification of October 2021, executable documents only. */
#ifndef PROXY_GRAPHQL_H
#define PROXY_GRAPHQL_H

#include "libcommon/json.h"

#define GRAPHQL_TEXT_MAX  (64 * 1024)
#define GRAPHQL_NEST_MAX  128 /* of brackets of any kind */
#define GRAPHQL_PARTS_MAX 256 /* operations and fragments of a document */
#define GRAPHQL_COST_MAX  (1LL << 50)
#define GRAPHQL_BATCH_MAX 64

enum graphql_kind { GRAPHQL_QUERY, GRAPHQL_MUTATION, GRAPHQL_SUBSCRIPTION };

struct graphql_weight {
    enum graphql_kind kind;
    int64_t cost; /* GRAPHQL_COST_MAX: that, or more */
    unsigned depth;
};

/* Weighs the operation `name` of a document; NULL or empty: its only one. `variables` is an object,
 * or NULL. -1: what is wrong, for the client to read. */
int graphql_weigh(const char *text, size_t len, const char *name, const json_t *variables,
                  struct graphql_weight *out, struct err *err) MUST_USE;

/* A request as it is sent over HTTP: {query, operationName, variables}, or an array of them, whose
 * costs add up. Requests that name a stored query by its hash are refused: they cannot be
 * weighed. */
int graphql_weigh_request(const json_t *request, struct graphql_weight *out,
                          struct err *err) MUST_USE;
/* The same in a query string, percent-encoded, without its mark: GET. Mutations are refused. */
int graphql_weigh_query(const char *query, size_t len, struct graphql_weight *out,
                        struct err *err) MUST_USE;
/* The query string of a request whose body is weighed. -1: it says something of the request too,
 * which many servers prefer to the body. */
int graphql_check_beside(const char *query, size_t len, struct err *err) MUST_USE;

#endif
