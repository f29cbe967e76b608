/* Apart from the rest, which a program without a log uses, too. */
#include "libcommon/eth/sign.h"
#include "libcommon/log.h"

void sign_key_guard(struct sign_key *key, const char *what)
{
    struct err err = {{0}};
    if (sign_key_lock(key, &err) != 0)
        log_warn("a key is not kept out of swap and core dumps", LOG_STR(NAME, what),
                 LOG_STR(ERROR, err.msg));
}
