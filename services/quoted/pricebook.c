/* Compiles the file into tables of exact amounts. Everything that could go wrong with a price goes
 * wrong here, with the line it stands on; a quote later only looks up. */
#include "services/quoted/pricebook.h"

#include "libcommon/eth/hex.h"
#include "libcommon/money.h"
#include "services/quoted/price.h"
#include "services/quoted/pricebook_file.h"
#include "services/quoted/pricebook_json.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define AMOUNTS_MAX 65536
#define FILE_MAX    (1024 * 1024)

static void lines_cleanup(struct pricebook_lines **lines)
{
    pricebook_lines_free(lines);
}

static void config_cleanup(struct config **config)
{
    config_free(config);
}

static void book_free(struct pricebook *book)
{
    free(book->tokens);
    free(book->services);
    free(book->durations);
    free(book->tiers);
    free(book->units);
    free(book->amounts);
    free(book->pricing);
    free(book);
}

struct pricebook *pricebook_ref(struct pricebook *book)
{
    book->refs++;
    return book;
}

void pricebook_unref(struct pricebook **book)
{
    if (*book != NULL && --(*book)->refs == 0)
        book_free(*book);
    *book = NULL;
}

struct compile {
    struct pricebook *book;
    const struct file_book *file;
    const struct pricebook_lines *lines;
    const struct pricebook_chain *chain;
    struct err *err;
};

#define WRAP(c, ...)                                                                               \
    pricebook_lines_wrap((c)->lines, (const char *const[]){__VA_ARGS__, NULL}, (c)->err)

static int token_address(struct compile *c, const struct file_token *in, uint8_t out[20])
{
    static const uint8_t zero[20];
    const uint8_t *deployed = c->chain->tokens[in->index];
    bool known = memcmp(deployed, zero, 20) != 0;
    if (in->address[0] == '\0') {
        memcpy(out, deployed, 20);
        return known ? 0
                     : err_set(c->err, "missing, and the deployment file has no token of index %d",
                               (int)in->index);
    }
    if (hex_address(in->address, out, c->err) != 0)
        return -1;
    if (memcmp(out, zero, 20) == 0)
        return err_set(c->err, "must not be the zero address");
    if (known && memcmp(out, deployed, 20) != 0)
        return err_set(c->err, "the deployment file has another token at index %d", (int)in->index);
    return 0;
}

static int compile_tokens(struct compile *c)
{
    struct pricebook *book = c->book;
    const struct file_token *in = c->file->tokens.items;
    book->tokens = mem_array(c->file->tokens.count, sizeof(*book->tokens));
    for (size_t i = 0; i < c->file->tokens.count; i++) {
        struct pricebook_token *token = &book->tokens[i];
        snprintf(token->symbol, sizeof(token->symbol), "%s", in[i].symbol);
        token->decimals = (unsigned)in[i].decimals;
        token->index = (uint8_t)in[i].index;
        if (token_address(c, &in[i], token->address) != 0)
            return WRAP(c, "tokens", in[i].symbol, "address");
        for (size_t j = 0; j < i; j++) {
            if (book->tokens[j].index == token->index ||
                memcmp(book->tokens[j].address, token->address, 20) == 0) {
                err_set(c->err, "has the index or the address of %s", book->tokens[j].symbol);
                return WRAP(c, "tokens", in[i].symbol);
            }
        }
        book->token_count++;
    }
    return 0;
}

static void compile_protocols(const struct config_list *names, struct pricebook_service *service)
{
    const char *const *name = names->items;
    service->protocols[0] = names->count == 0;
    for (size_t i = 0; i < names->count; i++)
        service->protocols[pricebook_protocol(name[i])] = true;
}

static void compile_services(struct compile *c)
{
    struct pricebook *book = c->book;
    const struct file_service *in = c->file->services.items;
    book->services = mem_array(c->file->services.count, sizeof(*book->services));
    for (; book->service_count < c->file->services.count; book->service_count++) {
        struct pricebook_service *service = &book->services[book->service_count];
        snprintf(service->name, sizeof(service->name), "%s", in[book->service_count].name);
        service->id = quote_service_id(service->name);
        compile_protocols(&in[book->service_count].protocols, service);
    }
}

static int compile_durations(struct compile *c)
{
    struct pricebook *book = c->book;
    const struct file_duration *in = c->file->durations.items;
    book->durations = mem_array(c->file->durations.count, sizeof(*book->durations));
    for (size_t i = 0; i < c->file->durations.count; i++) {
        if (pricebook_duration(book, in[i].days) != NULL) {
            err_set(c->err, "%d days stand twice", (int)in[i].days);
            return WRAP(c, "durations");
        }
        book->durations[book->duration_count++] =
            (struct pricebook_duration){in[i].days, in[i].discount};
    }
    return 0;
}

static void compile_tiers(struct compile *c)
{
    struct pricebook *book = c->book;
    const struct file_tier *in = c->file->tiers.items;
    book->tiers = mem_array(c->file->tiers.count, sizeof(*book->tiers));
    for (; book->tier_count < c->file->tiers.count; book->tier_count++) {
        struct pricebook_tier *tier = &book->tiers[book->tier_count];
        const struct file_tier *from = &in[book->tier_count];
        const struct file_limits *l = &from->limits;
        snprintf(tier->name, sizeof(tier->name), "%s", from->name);
        tier->period_s = from->period_ms / 1000;
        tier->limits = (struct pricebook_limits){
            .rate = l->rate,
            .burst = l->burst,
            .requests = l->requests,
            .requests_per_day = l->requests_per_day,
            .bytes = l->bytes,
            .messages = l->messages,
            .cost = l->cost,
            .bandwidth = l->bandwidth,
        };
    }
}

static size_t slot_of(const struct pricebook *book, size_t tier, size_t service, size_t token)
{
    return (tier * book->service_count + service) * book->token_count + token;
}

static int price_durations(struct compile *c, size_t tier, size_t slot, uint64_t unit)
{
    struct pricebook *book = c->book;
    for (size_t i = 0; i < book->duration_count; i++) {
        struct price_rule rule = {unit, book->tiers[tier].period_s, book->durations[i].days,
                                  book->durations[i].discount};
        if (price_exact(&rule, &book->amounts[slot * book->duration_count + i], c->err) != 0)
            return -1;
    }
    book->units[slot] = unit;
    return 0;
}

/* For one service, or for all of them where `service` is past the last. */
static int price_one(struct compile *c, size_t tier, size_t service, const struct file_price *price)
{
    struct pricebook *book = c->book;
    const struct pricebook_token *token = NULL;
    uint64_t unit = 0;
    for (size_t i = 0; i < book->token_count && token == NULL; i++)
        if (strcmp(book->tokens[i].symbol, price->token) == 0)
            token = &book->tokens[i];
    if (token == NULL)
        return err_set(c->err, "there is no token of this symbol under tokens");
    if (money_parse(price->amount, token->decimals, &unit) != 0)
        return err_set(c->err,
                       "must be digits with at most %u after the point, and fit 64 bits of "
                       "the token's smallest unit",
                       token->decimals);
    size_t index = (size_t)(token - book->tokens);
    bool all = service == book->service_count;
    for (size_t i = all ? 0 : service; i < (all ? book->service_count : service + 1); i++)
        if (price_durations(c, tier, slot_of(book, tier, i, index), unit) != 0)
            return -1;
    return 0;
}

static int price_override(struct compile *c, size_t tier, const struct file_override *override)
{
    const char *name = c->book->tiers[tier].name;
    const struct pricebook_service *service = pricebook_service(c->book, override->service);
    const struct file_price *price = override->prices.items;
    if (service == NULL) {
        err_set(c->err, "there is no service of this name under services");
        return WRAP(c, "tiers", name, "services", override->service);
    }
    for (size_t i = 0; i < override->prices.count; i++)
        if (price_one(c, tier, (size_t)(service - c->book->services), &price[i]) != 0)
            return WRAP(c, "tiers", name, "services", override->service, "prices", price[i].token);
    return 0;
}

static int price_tier(struct compile *c, size_t tier)
{
    const struct file_tier *in = (const struct file_tier *)c->file->tiers.items + tier;
    const struct file_price *price = in->prices.items;
    const struct file_override *override = in->services.items;
    for (size_t i = 0; i < in->prices.count; i++)
        if (price_one(c, tier, c->book->service_count, &price[i]) != 0)
            return WRAP(c, "tiers", in->name, "prices", price[i].token);
    for (size_t i = 0; i < in->services.count; i++)
        if (price_override(c, tier, &override[i]) != 0)
            return -1;
    return 0;
}

static int compile_prices(struct compile *c)
{
    struct pricebook *book = c->book;
    size_t slots = book->tier_count * book->service_count * book->token_count;
    if (slots * book->duration_count > AMOUNTS_MAX) {
        err_set(c->err, "more than %d combinations of tier, service, token and duration",
                AMOUNTS_MAX);
        return WRAP(c, "tiers");
    }
    book->units = mem_array(slots, sizeof(*book->units));
    book->amounts = mem_array(slots * book->duration_count, sizeof(*book->amounts));
    for (size_t i = 0; i < book->tier_count; i++)
        if (price_tier(c, i) != 0)
            return -1;
    return 0;
}

static int compile(struct compile *c)
{
    if (compile_tokens(c) != 0 || compile_durations(c) != 0)
        return -1;
    compile_services(c);
    compile_tiers(c);
    if (compile_prices(c) != 0)
        return -1;
    pricebook_json(c->book, &c->chain->domain);
    return 0;
}

int pricebook_parse(const char *name, const char *text, size_t len,
                    const struct pricebook_chain *chain, struct pricebook **out, struct err *err)
{
    CLEANUP(lines_cleanup) struct pricebook_lines *lines = NULL;
    CLEANUP(config_cleanup) struct config *config = NULL;
    struct err ignored;
    if (config_parse(name, text, len, &pricebook_schema, &config, err) != 0 ||
        pricebook_lines_parse(name, text, len, &lines, err) != 0)
        return -1;
    struct pricebook *book = mem_zalloc(sizeof(*book));
    book->refs = 1;
    struct compile c = {book, config_root(config), lines, chain, err != NULL ? err : &ignored};
    if (compile(&c) != 0) {
        pricebook_unref(&book);
        return -1;
    }
    *out = book;
    return 0;
}

int pricebook_load(const char *path, const struct pricebook_chain *chain, struct pricebook **out,
                   struct err *err)
{
    AUTO_FREE char *text = mem_alloc(FILE_MAX);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, "price book: %s: %m", path);
    size_t len = fread(text, 1, FILE_MAX, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed || len == FILE_MAX)
        return err_set(err, "price book: %s: cannot be read, or has more than 1 MiB", path);
    return pricebook_parse(path, text, len, chain, out, err);
}

const struct pricebook_tier *pricebook_tier(const struct pricebook *book, const char *name)
{
    for (size_t i = 0; i < book->tier_count; i++)
        if (strcmp(book->tiers[i].name, name) == 0)
            return &book->tiers[i];
    return NULL;
}

const struct pricebook_service *pricebook_service(const struct pricebook *book, const char *name)
{
    for (size_t i = 0; i < book->service_count; i++)
        if (strcmp(book->services[i].name, name) == 0)
            return &book->services[i];
    return NULL;
}

const struct pricebook_token *pricebook_token(const struct pricebook *book, const char *name)
{
    uint8_t address[20];
    bool is_address = hex_address(name, address, NULL) == 0;
    for (size_t i = 0; i < book->token_count; i++) {
        const struct pricebook_token *token = &book->tokens[i];
        if (is_address ? memcmp(token->address, address, 20) == 0
                       : strcmp(token->symbol, name) == 0)
            return token;
    }
    return NULL;
}

const struct pricebook_duration *pricebook_duration(const struct pricebook *book, int64_t days)
{
    for (size_t i = 0; i < book->duration_count; i++)
        if (book->durations[i].days == days)
            return &book->durations[i];
    return NULL;
}

uint64_t pricebook_unit(const struct pricebook *book, size_t tier, size_t service, size_t token)
{
    return book->units[slot_of(book, tier, service, token)];
}

uint64_t pricebook_amount(const struct pricebook *book, const struct pricebook_tier *tier,
                          const struct pricebook_service *service,
                          const struct pricebook_token *token,
                          const struct pricebook_duration *duration)
{
    size_t slot = slot_of(book, (size_t)(tier - book->tiers), (size_t)(service - book->services),
                          (size_t)(token - book->tokens));
    return book->amounts[slot * book->duration_count + (size_t)(duration - book->durations)];
}
