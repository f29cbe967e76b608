/* GET /status of the ops listener: what the proxy is doing at this moment, as JSON
 * (docs/operations/observability.md), and the check /healthz?check=upstream. */
#ifndef PROXY_STATUS_H
#define PROXY_STATUS_H

#include "libcommon/service.h"

#define STATUS_ROUTES 1

extern const struct http_route status_routes[STATUS_ROUTES];

/* For service_desc.check: `upstream` is 200 where every pool has a usable backend. */
unsigned status_check(struct service *service, const char *name, json_t **report);

#endif
