/* Addresses as they stand in a configuration: "host:port", "[v6]:port". */
#ifndef LIBCOMMON_HTTP_SERVER_LISTEN_H
#define LIBCOMMON_HTTP_SERVER_LISTEN_H

#include "libcommon/err.h"

/* A listening TCP socket, non-blocking, and its port. */
int http_server_listen(const char *address, int *fd, unsigned *port, struct err *err) MUST_USE;
/* The port that a socket is bound to; 0: none. */
unsigned http_server_port_of(int fd);
/* A connected TCP socket, each step bounded by timeout_ms; the wildcard addresses mean the
 * loopback. */
int http_server_connect(const char *address, int timeout_ms, int *fd, struct err *err) MUST_USE;

#endif
