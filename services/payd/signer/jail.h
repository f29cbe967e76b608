/* Takes from the signer's process whatever it does not need: to look into it, to start others, to
 * open, to connect. In this order: jail_early before any secret is read, jail_user once the files
 * are read, jail_close last. */
#ifndef PAYD_SIGNER_JAIL_H
#define PAYD_SIGNER_JAIL_H

#include "libcommon/err.h"

#define JAIL_FD 0 /* the one descriptor that stays: the socket to payd */

/* No core dump, no tracing, nothing of a terminal's signals, and an end with the parent. */
int jail_early(struct err *err) MUST_USE;
/* Becomes `user` (a name or uid:gid; NULL or empty: nobody) where it is root; else stays who it is.
 */
int jail_user(const char *user, struct err *err) MUST_USE;
/* Closes every other descriptor and leaves reading, writing, memory and the end as the only system
 * calls: any other kills the process. */
int jail_close(struct err *err) MUST_USE;

#endif
