/* An operator takes a subscription away. */
#ifndef SUBD_REVOKE_H
#define SUBD_REVOKE_H

#include "libcommon/problem.h"
#include "services/subd/record.h"
#include "services/subd/subd.h"

struct revoke_request {
    char subscription[SUB_ID_LEN + 1];
    char reason[257];
    char actor[129];
};

int revoke_decode(const char *text, size_t len, struct revoke_request *out,
                  struct err *err) MUST_USE;

/* PROBLEM_NONE: *record is revoked, now or before. */
enum problem revoke(struct subd *subd, const struct revoke_request *request, struct record *record,
                    struct err *err);

#endif
