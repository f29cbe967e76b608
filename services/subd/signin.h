/* Sign-In: a challenge that is kept in Redis until it is spent once, and the proof that a wallet
 * signed it. */
#ifndef SUBD_SIGNIN_H
#define SUBD_SIGNIN_H

#include "libcommon/problem.h"
#include "services/subd/siwe.h"
#include "services/subd/subd.h"

#define SIGNIN_SERVICE_MAX 63

struct signin_challenge {
    char *message; /* owned */
    char nonce[33];
    int64_t expires_at;
};

/* Whose subscription to which service. */
struct signin_identity {
    char wallet[43]; /* lower-case */
    char service[SIGNIN_SERVICE_MAX + 1];
};

/* a-z, 0-9 and . _ - only, at most SIGNIN_SERVICE_MAX. */
bool signin_service_valid(const char *service);

enum problem signin_challenge(struct subd *subd, const uint8_t wallet[20], const char *service,
                              struct signin_challenge *out, struct err *err);

/* PROBLEM_NONE: the wallet signed this message, which was a challenge of ours, now spent. */
enum problem signin_verify(struct subd *subd, const char *message, const char *signature,
                           struct signin_identity *out, struct err *err);

/* What of a message can be judged without the store: domain, URI, chain, times, one resource that
 * names a service. */
enum problem signin_judge(const struct siwe *message, const char *authority, const char *public_url,
                          int64_t chain_id, int64_t now, char service[SIGNIN_SERVICE_MAX + 1],
                          struct err *err);

#endif
