/* Loads with what OpenSSL offers, and turns its errors into ours. */
#include "services/proxy/tls_context.h"

#include "libcommon/log.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CIPHERS_1_2                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

const char *tls_context_why(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = NULL;
    if (ERR_SYSTEM_ERROR(code))
        reason = strerror(ERR_GET_REASON(code));
    else if (code)
        reason = ERR_reason_error_string(code);
    ERR_clear_error();
    return reason ? reason : "it cannot be used";
}

int tls_context_new(const SSL_METHOD *method, SSL_CTX **out, struct err *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = *out = SSL_CTX_new(method);
    if (!ctx)
        return err_set(err, "TLS: %s", tls_context_why());
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* An idle connection keeps no record buffers. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) &&
        SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) && SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3))
        return 0;
    SSL_CTX_free(ctx);
    *out = NULL;
    return err_set(err, "TLS: %s", tls_context_why());
}

/* Nobody is there to type one. */
static int no_password(char *buf, int size, int writing, void *data)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)data;
    return -1;
}

static void check_time(const X509 *certificate, const char *file)
{
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        log_warn("the certificate has expired", LOG_STR(PATH, file));
    else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
        log_warn("the certificate is not valid yet", LOG_STR(PATH, file));
}

static int unreadable(const char *key, const char *file, struct err *err)
{
    if (access(file, R_OK) != 0)
        return err_set(err, "%s: %s: %s", key, file, strerror(errno));
    return err_set(err, "%s: %s: %s", key, file, tls_context_why());
}

int tls_context_identity(SSL_CTX *ctx, const char *certificate, const char *key, struct err *err)
{
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        return unreadable("certificate", certificate, err);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return unreadable("key", key, err);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return err_set(err, "key: %s: it is not the key of %s", key, certificate);
    check_time(SSL_CTX_get0_certificate(ctx), certificate);
    return 0;
}

int tls_context_trust(SSL_CTX *ctx, const char *key, const char *file, struct err *err)
{
    ERR_clear_error();
    return SSL_CTX_load_verify_file(ctx, file) == 1 ? 0 : unreadable(key, file, err);
}

bool tls_context_digest(const SSL_CTX *ctx, EVP_MD_CTX *digest)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    unsigned len;
    STACK_OF(X509) *all = X509_STORE_get1_all_certs(SSL_CTX_get_cert_store(ctx));
    bool ok = all != NULL;
    for (int i = 0; ok && i < sk_X509_num(all); i++)
        ok = X509_digest(sk_X509_value(all, i), EVP_sha256(), id, &len) &&
             EVP_DigestUpdate(digest, id, len);
    sk_X509_pop_free(all, X509_free);
    return ok;
}
