/* The listening sockets of the process, one for each address and worker, as the main thread knows
 * them: it opens them (or inherits them from the process that this one replaces) and hands them to
 * workers, which close them. */
#ifndef PROXY_SOCKETS_H
#define PROXY_SOCKETS_H

#include "libcommon/err.h"

#include <stddef.h>

struct proxy_config;
struct service;

struct socket_row {
    char *address; /* as it stands in the configuration */
    int fd;
    unsigned worker;
};

struct sockets {
    struct socket_row *rows;
    size_t count;
};

/* What `config` listens to and `open` does not have, bound, into `added`. Of a socket that was
 * inherited none is left over: where there are more than workers, one worker polls several. On
 * failure nothing is. */
int sockets_open(const struct sockets *open, const struct proxy_config *config, size_t workers,
                 struct service *service, struct sockets *added, struct err *err) MUST_USE;
/* From now on connections come. */
void sockets_listen(const struct sockets *sockets);
/* Moves all of `added` over. */
void sockets_join(struct sockets *sockets, struct sockets *added);
/* Forgets those that `config` does not name: workers close them. */
void sockets_forget(struct sockets *sockets, const struct proxy_config *config);
void sockets_offer(const struct sockets *sockets, struct service *service);
void sockets_close(struct sockets *sockets);
/* After all were closed: removes the files of Unix sockets, where no successor serves them. */
void sockets_clean(const struct sockets *sockets);
/* The descriptors stay open. */
void sockets_clear(struct sockets *sockets);

#endif
