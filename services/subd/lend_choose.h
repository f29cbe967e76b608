/* The decision about one ask, apart from the database. */
#ifndef SUBD_LEND_CHOOSE_H
#define SUBD_LEND_CHOOSE_H

#include "libcommon/proto/lease.h"
#include "services/subd/record.h"

/* The quota of a subscription's current period and day, as it stands under its locks. */
struct lend_quota {
    int64_t granted[SUB_KINDS];
    int64_t day_granted;       /* requests of the UTC day */
    int64_t others;            /* other journals with a running lease */
    bool returning[SUB_KINDS]; /* an open lease may still give something back */
    bool day_returning;        /* the same, to the day */
};

/* true: *grant is filled but for its id. false: *refused is. */
bool lend_choose(const struct lease_ask *ask, const struct record *record,
                 const struct lend_quota *quota, int64_t now_ms, int64_t lease_ms,
                 struct lease_grant *grant, struct lease_refused *refused);

#endif
