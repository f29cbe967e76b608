/* The tables of the price book's file, and the rules that one section can check by itself. What
 * needs two sections (a price and the decimals of its token) is checked in pricebook.c, which finds
 * the lines through the tree that is kept here. */
#include "services/quoted/pricebook_file.h"

#include "libcommon/config_tree.h"
#include "libcommon/mem.h"
#include "services/quoted/pricebook.h"

#include <string.h>

#define LIMIT_MAX (1LL << 53)
#define DAY_MS    86400000LL

static int name_ok(const char *what, const char *name, struct err *err)
{
    size_t len = strlen(name);
    if (len >= 1 && len <= PRICEBOOK_NAME && name[0] != '-' && name[0] != '_' &&
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == len)
        return 0;
    return err_set(
        err, "a %s's name has 1 to %d of a-z, 0-9, - and _, and begins with a letter or digit",
        what, PRICEBOOK_NAME);
}

static int symbol_ok(const char *symbol, struct err *err)
{
    size_t len = strlen(symbol);
    if (len >= 1 && len <= PRICEBOOK_SYMBOL && strncmp(symbol, "0x", 2) != 0 &&
        strspn(symbol, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_") == len)
        return 0;
    return err_set(err, "a token's symbol has 1 to %d of letters, digits, '.', - and _, not 0x...",
                   PRICEBOOK_SYMBOL);
}

static int check_token(void *section, struct err *err)
{
    return symbol_ok(((const struct file_token *)section)->symbol, err);
}

static const struct config_field token_fields[] = {
    CONFIG_FIELD(struct file_token, address, "address", CONFIG_STRING, .fallback = "", .max = 42,
                 .doc = "the token's contract; empty: as the deployment file says for its index"),
    CONFIG_FIELD(struct file_token, decimals, "decimals", CONFIG_INT, .required = true, .min = 0,
                 .max = 18, .doc = "decimals of the token's smallest unit"),
    CONFIG_FIELD(struct file_token, index, "index", CONFIG_INT, .required = true, .min = 1,
                 .max = PRICEBOOK_TOKENS_MAX, .doc = "its place in our contract's token table"),
};
static const struct config_schema token_schema = {
    "token", sizeof(struct file_token), token_fields, ARRAY_LEN(token_fields), check_token, NULL};

const char *const pricebook_protocols[] = {"http", "websocket", "sse", "graphql", NULL};

int pricebook_protocol(const char *name)
{
    for (int i = 0; i < PRICEBOOK_PROTOCOLS; i++)
        if (strcmp(pricebook_protocols[i], name) == 0)
            return i;
    return -1;
}

static int check_service(void *section, struct err *err)
{
    const struct file_service *service = section;
    const char *const *names = service->protocols.items;
    bool seen[PRICEBOOK_PROTOCOLS] = {false};
    for (size_t i = 0; i < service->protocols.count; i++) {
        int protocol = pricebook_protocol(names[i]);
        if (protocol < 0)
            return err_set(err, "protocols: are http, websocket, sse and graphql");
        if (seen[protocol])
            return err_set(err, "protocols: %s stands twice", names[i]);
        seen[protocol] = true;
    }
    return name_ok("service", service->name, err);
}

static const struct config_field service_fields[] = {
    CONFIG_FIELD(struct file_service, title, "title", CONFIG_STRING, .fallback = "", .max = 200,
                 .doc = "a line for people; not published"),
    CONFIG_FIELD(struct file_service, protocols, "protocols", CONFIG_STRINGS,
                 .max = PRICEBOOK_PROTOCOLS,
                 .doc = "how it may be called: http, websocket, sse, graphql; none: http. Told to "
                        "buyers; what is let through, the proxy's routes say"),
};
static const struct config_schema service_schema = {"service",      sizeof(struct file_service),
                                                    service_fields, ARRAY_LEN(service_fields),
                                                    check_service,  "title"};

static const struct config_field duration_fields[] = {
    CONFIG_FIELD(struct file_duration, days, "days", CONFIG_INT, .required = true, .min = 1,
                 .max = 3660, .doc = "how long is bought"),
    CONFIG_FIELD(struct file_duration, discount, "discount", CONFIG_PERCENT, .fallback = "0%",
                 .min = 0, .max = 99, .doc = "off the price"),
};
static const struct config_schema duration_schema = {
    "duration", sizeof(struct file_duration), duration_fields, ARRAY_LEN(duration_fields), NULL,
    "days"};

static const struct config_field price_fields[] = {
    CONFIG_FIELD(struct file_price, amount, "amount", CONFIG_STRING, .required = true, .max = 40,
                 .doc = "decimal, for one period of the tier"),
};
static const struct config_schema price_schema = {
    "price", sizeof(struct file_price), price_fields, ARRAY_LEN(price_fields), NULL, "amount"};

static const struct config_field override_fields[] = {
    CONFIG_FIELD(struct file_override, prices, "prices", CONFIG_MAP, .required = true, .min = 1,
                 .max = PRICEBOOK_TOKENS_MAX, .section = &price_schema,
                 .doc = "prices by token, in place of the tier's"),
};
static const struct config_schema override_schema = {
    "override", sizeof(struct file_override), override_fields, ARRAY_LEN(override_fields), NULL,
    NULL};

static const struct config_field limits_fields[] = {
    CONFIG_FIELD(struct file_limits, rate, "rate", CONFIG_INT, .max = UINT16_MAX,
                 .doc = "requests a second; 0: no limit"),
    CONFIG_FIELD(struct file_limits, burst, "burst", CONFIG_INT, .max = 1000000,
                 .doc = "requests that may come at once; 0: as many as rate"),
    CONFIG_FIELD(struct file_limits, requests, "requests", CONFIG_INT, .max = LIMIT_MAX,
                 .doc = "requests a period; 0: no limit"),
    CONFIG_FIELD(struct file_limits, requests_per_day, "requests_per_day", CONFIG_INT,
                 .max = LIMIT_MAX, .doc = "requests a UTC day; 0: no limit"),
    CONFIG_FIELD(struct file_limits, bytes, "bytes", CONFIG_SIZE, .max = LIMIT_MAX,
                 .doc = "bytes in and out a period; 0: no limit"),
    CONFIG_FIELD(struct file_limits, messages, "messages", CONFIG_INT, .max = LIMIT_MAX,
                 .doc = "WebSocket messages a period; 0: no limit. Events of a stream are "
                        "counted, and not charged"),
    CONFIG_FIELD(struct file_limits, cost, "cost", CONFIG_INT, .max = LIMIT_MAX,
                 .doc = "GraphQL cost a period; 0: no limit"),
    CONFIG_FIELD(struct file_limits, bandwidth, "bandwidth", CONFIG_INT, .max = UINT16_MAX,
                 .doc = "KiB a second; 0: no limit"),
};

static int check_limits(void *section, struct err *err)
{
    struct file_limits *limits = section;
    if (limits->burst > 0 && limits->rate == 0)
        return err_set(err, "burst: means nothing without rate");
    if (limits->burst == 0)
        limits->burst = limits->rate;
    return 0;
}

static const struct config_schema limits_schema = {"limits",      sizeof(struct file_limits),
                                                   limits_fields, ARRAY_LEN(limits_fields),
                                                   check_limits,  NULL};

static const struct config_field tier_fields[] = {
    CONFIG_FIELD(struct file_tier, period_ms, "period", CONFIG_DURATION, .fallback = "30d",
                 .min = 60000, .max = 366LL * 86400000,
                 .doc = "what limits and prices are for; whole seconds"),
    CONFIG_FIELD(struct file_tier, limits, "limits", CONFIG_SECTION, .section = &limits_schema,
                 .doc = "what may be used"),
    CONFIG_FIELD(struct file_tier, prices, "prices", CONFIG_MAP, .required = true, .min = 1,
                 .max = PRICEBOOK_TOKENS_MAX, .section = &price_schema,
                 .doc = "prices by token; a token that is absent is not taken for the tier"),
    CONFIG_FIELD(struct file_tier, services, "services", CONFIG_MAP, .max = 256,
                 .section = &override_schema, .doc = "other prices for single services"),
};

static int check_tier(void *section, struct err *err)
{
    const struct file_tier *tier = section;
    if (tier->period_ms % 1000 != 0)
        return err_set(err, "period: must be whole seconds");
    if (tier->period_ms >= DAY_MS && tier->limits.requests > 0 &&
        tier->limits.requests_per_day > tier->limits.requests)
        return err_set(err, "limits.requests_per_day: more than requests, which are for a period");
    return name_ok("tier", tier->name, err);
}

static const struct config_schema tier_schema = {
    "tier", sizeof(struct file_tier), tier_fields, ARRAY_LEN(tier_fields), check_tier, NULL};

static const struct config_field book_fields[] = {
    CONFIG_FIELD(struct file_book, tokens, "tokens", CONFIG_MAP, .required = true, .min = 1,
                 .max = PRICEBOOK_TOKENS_MAX, .section = &token_schema,
                 .doc = "tokens that are taken, by symbol"),
    CONFIG_FIELD(struct file_book, services, "services", CONFIG_MAP, .required = true, .min = 1,
                 .max = 256, .section = &service_schema, .doc = "what is for sale, by name"),
    CONFIG_FIELD(struct file_book, durations, "durations", CONFIG_LIST, .required = true, .min = 1,
                 .max = 64, .section = &duration_schema, .doc = "for how long one may buy"),
    CONFIG_FIELD(struct file_book, tiers, "tiers", CONFIG_MAP, .required = true, .min = 1,
                 .max = 256, .section = &tier_schema, .doc = "named sets of limits, by name"),
};

const struct config_schema pricebook_schema = {
    "price book", sizeof(struct file_book), book_fields, ARRAY_LEN(book_fields), NULL, NULL};

struct pricebook_lines {
    struct config_arena *arena;
    struct config_node *root;
    char *name;
};

int pricebook_lines_parse(const char *name, const char *text, size_t len,
                          struct pricebook_lines **out, struct err *err)
{
    struct pricebook_lines *lines = mem_zalloc(sizeof(*lines));
    lines->arena = config_arena_new();
    lines->name = mem_strdup(name);
    if (config_tree_parse(lines->arena, name, text, len, &lines->root, err) != 0) {
        pricebook_lines_free(&lines);
        return -1;
    }
    *out = lines;
    return 0;
}

void pricebook_lines_free(struct pricebook_lines **lines)
{
    if (*lines == NULL)
        return;
    config_arena_free(&(*lines)->arena);
    free((*lines)->name);
    free(*lines);
    *lines = NULL;
}

static const struct config_node *member(const struct config_node *map, const char *key)
{
    const struct config_node *node = map->kind == CONFIG_NODE_MAP ? map->first : NULL;
    while (node != NULL && strcmp(node->key->text, key) != 0)
        node = node->next;
    return node;
}

int pricebook_lines_wrap(const struct pricebook_lines *lines, const char *const *path,
                         struct err *err)
{
    const struct config_node *node = lines->root;
    unsigned line = node != NULL ? node->line : 1;
    AUTO_BUF struct buf where = {.max = 300};
    for (size_t i = 0; path[i] != NULL; i++) {
        node = node != NULL ? member(node, path[i]) : NULL;
        line = node != NULL ? node->line : line;
        buf_printf(&where, "%s%s", i > 0 ? "." : "", path[i]);
    }
    return err_wrap(err, "%s:%u: %s", lines->name, line, where.len > 0 ? where.data : "price book");
}
