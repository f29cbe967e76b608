/* The price book as it stands in its file, and where. For pricebook*.c only. */
#ifndef QUOTED_PRICEBOOK_FILE_H
#define QUOTED_PRICEBOOK_FILE_H

#include "libcommon/config.h"

struct file_token {
    const char *symbol;
    const char *address; /* empty: the deployment's */
    int64_t decimals, index;
};

struct file_service {
    const char *name;
    const char *title;
    struct config_list protocols; /* const char *, words of pricebook_protocols; none: http */
};

struct file_duration {
    int64_t days, discount;
};

struct file_price {
    const char *token;
    const char *amount; /* decimal, for one period */
};

struct file_override {
    const char *service;
    struct config_list prices; /* struct file_price */
};

struct file_limits {
    int64_t rate, burst, requests, requests_per_day, bytes, messages, cost, bandwidth;
};

struct file_tier {
    const char *name;
    int64_t period_ms;
    struct file_limits limits;
    struct config_list prices;   /* struct file_price */
    struct config_list services; /* struct file_override */
};

struct file_book {
    struct config_list tokens, services, durations, tiers;
};

/* Its index, or -1. */
int pricebook_protocol(const char *name);

/* Lines of keys, for what is found wrong only when sections are put together. */
struct pricebook_lines;

int pricebook_lines_parse(const char *name, const char *text, size_t len,
                          struct pricebook_lines **out, struct err *err) MUST_USE;
void pricebook_lines_free(struct pricebook_lines **lines);
/* Puts "name:line: a.b.c: " before what stands in err, for the path of keys ended by NULL. Always
 * -1. */
int pricebook_lines_wrap(const struct pricebook_lines *lines, const char *const *path,
                         struct err *err);

#endif
