/* The handler of discovery; ctx is struct quoted. */
#ifndef QUOTED_DISCOVERY_H
#define QUOTED_DISCOVERY_H

#include "libcommon/http_server.h"

void discovery_get(struct http_request *request, void *ctx);

#endif
