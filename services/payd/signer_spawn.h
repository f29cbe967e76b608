/* Starts the signer's process. */
#ifndef PAYD_SIGNER_SPAWN_H
#define PAYD_SIGNER_SPAWN_H

#include "services/payd/signer.h"

#include <sys/types.h>

/* *fd: our end of its socket, the caller's. The process dies with the thread that calls this. */
int signer_spawn(const struct signer_options *options, pid_t *pid, int *fd,
                 struct err *err) MUST_USE;

#endif
