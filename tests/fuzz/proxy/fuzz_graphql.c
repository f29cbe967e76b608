/* GraphQL documents and query strings: whatever they hold, weighing ends, within bounds. */
#include "services/proxy/graphql.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int result, const struct graphql_weight *weight, const struct err *err)
{
    if (result && !err->msg[0])
        abort();
    if (!result && (weight->cost < 1 || weight->cost > GRAPHQL_COST_MAX || weight->depth < 1))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const void *)data;
    struct graphql_weight weight;
    struct err err = {{0}};
    int result = graphql_weigh(text, size, NULL, NULL, &weight, &err);
    check(result, &weight, &err);
    err.msg[0] = '\0';
    result = graphql_weigh_query(text, size, &weight, &err);
    check(result, &weight, &err);
    return 0;
}
