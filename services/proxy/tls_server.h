/* The TLS side of a listener: a context for each certificate, chosen by the name that the client
 * asks for (SNI). Made with a generation; connections keep it alive beyond that. */
#ifndef PROXY_TLS_SERVER_H
#define PROXY_TLS_SERVER_H

#include "services/proxy/config.h"
#include "services/proxy/tls_ticket.h"

struct tls_server;

/* `http`: ALPN is spoken (h2, http/1.1). tickets NULL: to try the files out. *out is NULL on
 * failure. */
int tls_server_new(const struct listener_tls_config *config, bool http, struct tls_tickets *tickets,
                   struct tls_server **out, struct err *err) MUST_USE;
struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server **server);
/* For a new connection. */
SSL_CTX *tls_server_context(struct tls_server *server);
/* By exact name, then by the wildcard one label up; else the first certificate. NULL: no name. */
SSL_CTX *tls_server_choose(const struct tls_server *server, const char *name);

#endif
