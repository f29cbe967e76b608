/* Every refusal that a client can see (RFC 9457): one row of problem.def each. `type` is a URL into
 * docs/problems. */
#ifndef LIBCOMMON_PROBLEM_H
#define LIBCOMMON_PROBLEM_H

#include "libcommon/buf.h"

enum problem {
    PROBLEM_NONE,

#define PROBLEM_ROW(id, name, status, retryable, title, next) PROBLEM_##id,
#include "libcommon/problem.def"
#undef PROBLEM_ROW
    PROBLEM_COUNT
};

struct problem_desc {
    const char *name;  /* also the metric label */
    unsigned status;   /* HTTP status */
    bool retryable;    /* the same request may succeed later, unchanged */
    const char *title; /* one sentence, the same each time */
    const char *next;  /* what to do */
};

const struct problem_desc *problem_get(enum problem problem);
/* -1 where there is no such name. */
int problem_find(const char *name, enum problem *out) MUST_USE;

/* Appends the application/problem+json body: type, title, status, detail, request_id, retryable,
 * next. `detail` and `request_id` may be NULL; both are escaped. */
void problem_body(struct buf *out, enum problem problem, const char *detail,
                  const char *request_id);

#endif
