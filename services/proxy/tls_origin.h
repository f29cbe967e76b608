/* The TLS side of a backend: what its certificate is checked against, which name it must carry, and
 * the last session of each worker. Connections keep it alive. */
#ifndef PROXY_TLS_ORIGIN_H
#define PROXY_TLS_ORIGIN_H

#include "services/proxy/config.h"

#include <openssl/ssl.h>

struct tls_origin;
/* Authorities that were read for one backend are those of the next with the same file: a list that
 * begins as NULL and lives while a configuration is compiled. */
struct tls_authorities;

/* config may be NULL: the system's authorities. `host`: the URL's, the name to verify unless the
 * configuration has another; an address is verified as one. *out is NULL on failure. */
int tls_origin_new(const struct backend_tls_config *config, const char *host,
                   struct tls_authorities **known, struct tls_origin **out,
                   struct err *err) MUST_USE;
void tls_authorities_free(struct tls_authorities **known);
struct tls_origin *tls_origin_ref(struct tls_origin *origin);
void tls_origin_unref(struct tls_origin **origin);
/* What one has verified, the other would: the same name and authorities, and the same certificate
 * of our own. Either may be NULL: no TLS. */
bool tls_origin_same(const struct tls_origin *a, const struct tls_origin *b);
/* A client's SSL with name, verification and, where there is one, a session of this worker. NULL:
 * out of memory. `http`: ALPN says http/1.1. */
SSL *tls_origin_ssl(struct tls_origin *origin, unsigned worker, bool http) MUST_USE;
/* The handshake failed: its session may be why. */
void tls_origin_forget(struct tls_origin *origin, unsigned worker);

#endif
