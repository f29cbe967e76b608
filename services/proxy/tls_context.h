/* What TLS contexts of both sides share: versions, ciphers, modes, and the files that they are made
 * of, whose faults are told by key and file. */
#ifndef PROXY_TLS_CONTEXT_H
#define PROXY_TLS_CONTEXT_H

#include "libcommon/err.h"
#include "services/proxy/config.h"

#include <openssl/ssl.h>

/* Both sides. *out is NULL on failure. */
int tls_context_new(const SSL_METHOD *method, SSL_CTX **out, struct err *err) MUST_USE;
/* A certificate with its chain, and its key. One that is out of its time is told in the log. */
int tls_context_identity(SSL_CTX *ctx, const char *certificate, const char *key,
                         struct err *err) MUST_USE;
/* Authorities that the other side's certificate is checked against; `key` names the setting. */
int tls_context_trust(SSL_CTX *ctx, const char *key, const char *file, struct err *err) MUST_USE;
/* Adds the authorities that a context trusts, by content. False: OpenSSL fails. */
bool tls_context_digest(const SSL_CTX *ctx, EVP_MD_CTX *digest);
/* What OpenSSL says of its last error, which is forgotten then. Never NULL. */
const char *tls_context_why(void);

#endif
