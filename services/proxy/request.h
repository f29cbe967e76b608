/* One exchange: an HTTP/1.1 request and its response, later also one HTTP/2 stream. It owns a
 * memory pool; everything that hangs on it lives there and dies with it. Connections hold no room
 * state. */
#ifndef PROXY_REQUEST_H
#define PROXY_REQUEST_H

#include "libcommon/problem.h"
#include "services/proxy/auth.h"
#include "services/proxy/cost.h"
#include "services/proxy/meter.h"
#include "services/proxy/qos.h"
#include "services/proxy/room.h"
#include "services/proxy/worker.h"

#include <h2o.h>

struct route;
struct exchange; /* the HTTP side: request.c, http1_*.c, upstream.c */

struct request {
    struct worker *worker;
    h2o_mem_pool_t pool;
    const struct route *route; /* set by room_route */
    struct meter_state meter;
    struct auth_state auth;
    struct cost_state cost;
    struct qos_state qos;
    enum problem problem;       /* of the refusal, PROBLEM_NONE */
    const char *problem_detail; /* pool, or static; NULL */
    int64_t retry_after_s;      /* 0: none */
    int64_t rate;               /* that was exceeded, a second; 0: none */
    struct exchange *exchange;
};

/* A header of the request by its lower-case name: the value's slice, {NULL, 0} where absent. Of
 * several, the first; *count (may be NULL) says how many. */
h2o_iovec_t request_header(const struct request *request, const char *name, size_t *count);
/* The id given to this request, NUL-terminated. */
const char *request_id(const struct request *request);
/* Adds a header to the request that goes to the origin; name and value live in the pool or are
 * static. A client's header of that name is dropped. */
void request_add_upstream_header(struct request *request, const char *name, h2o_iovec_t value);
/* Keeps a header of the client's from the origin. */
void request_drop_header(struct request *request, const char *name);
/* Adds a header to the answer, refusals included. */
void request_add_response_header(struct request *request, const char *name, h2o_iovec_t value);

/* Notes the refusal; return ROOM_REJECT after it. `detail` is formatted into the pool. */
void request_refuse(struct request *request, enum problem problem, const char *detail, ...)
    PRINTF_LIKE(3, 4);

/* Goes on after ROOM_WAIT: on the worker's thread, not from within enter. ROOM_NEXT: the room that
 * waited is done; ROOM_REJECT: refused. */
void request_resume(struct request *request, enum room_result result);

#endif
