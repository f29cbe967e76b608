/* payd's public HTTP API: docs/openapi/payd.yaml. */
#ifndef PAYD_API_H
#define PAYD_API_H

#include "libcommon/http_server.h"
#include "services/payd/payd.h"

int api_start(struct payd *payd, struct http_server **out, struct err *err) MUST_USE;

#endif
