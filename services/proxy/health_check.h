/* One health check as a transfer of libcurl: what is asked of a backend, and whether the answer is
 * good. Of the health thread alone. */
#ifndef PROXY_HEALTH_CHECK_H
#define PROXY_HEALTH_CHECK_H

#include "services/proxy/pool.h"

#include <curl/curl.h>

struct health_check {
    const struct pool *pool;
    struct backend *backend;
    const struct backend_config *config;
    CURL *easy; /* NULL: none under way */
    struct curl_slist *headers, *route;
    size_t head, body; /* bytes that came */
    char error[CURL_ERROR_SIZE];
};

/* Makes check->easy; the caller runs it. -1: there is nothing to connect to. */
int health_check_begin(struct health_check *check, struct err *err) MUST_USE;
/* Whether it was good; *err says what was not. */
int health_check_verdict(struct health_check *check, CURLcode code, struct err *err) MUST_USE;
void health_check_end(struct health_check *check);

#endif
