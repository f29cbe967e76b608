/* Verification is part of the handshake (X509_VERIFY_PARAM), under every version; a session is only
 * kept where it succeeded, and only used with the same name and authorities. */
#include "services/proxy/tls_origin.h"

#include "libcommon/mem.h"
#include "services/proxy/tls_context.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define WORKERS_MAX 256

struct tls_origin {
    atomic_uint refs;
    SSL_CTX *ctx;
    char *name;
    bool address;                       /* the name is one: verified as such, and not sent */
    unsigned char identity[32];         /* SHA-256: whom it trusts, and who it says that we are */
    SSL_SESSION *sessions[WORKERS_MAX]; /* each touched by its worker only */
};

static bool is_address(const char *text)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

/* The app data of a connection's SSL is the worker's place in `sessions`. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION **place = SSL_get_app_data(ssl);
    if (!place || SSL_get_verify_result(ssl) != X509_V_OK)
        return 0;
    SSL_SESSION_free(*place);
    *place = session;
    return 1;
}

static int set_name(struct tls_origin *origin, struct err *err)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(origin->ctx);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int ok = origin->address ? X509_VERIFY_PARAM_set1_ip_asc(param, origin->name)
                             : X509_VERIFY_PARAM_set1_host(param, origin->name, 0);
    return ok ? 0 : err_set(err, "server_name: %s", tls_context_why());
}

/* What one file says, or the system ("") where no file is named. */
struct tls_authorities {
    struct tls_authorities *next;
    char *file;
    X509_STORE *store;
    unsigned char digest[32];
};

static struct tls_authorities *add_authorities(struct tls_authorities **known, const char *file,
                                               const SSL_CTX *ctx)
{
    struct tls_authorities *added = mem_zalloc(sizeof(*added));
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool ok = digest && EVP_DigestInit_ex2(digest, EVP_sha256(), NULL) &&
              tls_context_digest(ctx, digest) && EVP_DigestFinal_ex(digest, added->digest, NULL);
    EVP_MD_CTX_free(digest);
    if (!ok) {
        free(added);
        return NULL;
    }
    added->file = mem_strdup(file);
    added->store = SSL_CTX_get_cert_store(ctx);
    X509_STORE_up_ref(added->store);
    added->next = *known;
    *known = added;
    return added;
}

void tls_authorities_free(struct tls_authorities **known)
{
    for (struct tls_authorities *next, *at = *known; at; at = next) {
        next = at->next;
        X509_STORE_free(at->store);
        free(at->file);
        free(at);
    }
    *known = NULL;
}

static int load(struct tls_origin *origin, const char *file, struct err *err)
{
    if (file[0])
        return tls_context_trust(origin->ctx, "ca", file, err);
    if (SSL_CTX_set_default_verify_paths(origin->ctx) != 1)
        return err_set(err, "the system's authorities: %s", tls_context_why());
    return 0;
}

/* The system's are a hundred and more, which takes long and much to read for each backend. */
static int trust(struct tls_origin *origin, const char *file, struct tls_authorities **known,
                 const struct tls_authorities **out, struct err *err)
{
    for (*out = *known; *out && strcmp((*out)->file, file) != 0; *out = (*out)->next)
        ;
    if (*out) {
        SSL_CTX_set1_cert_store(origin->ctx, (*out)->store);
        return 0;
    }
    if (load(origin, file, err))
        return -1;
    *out = add_authorities(known, file, origin->ctx);
    return *out ? 0 : err_set(err, "TLS: %s", tls_context_why());
}

/* By content: a file may be another under the same name. */
static int identify(struct tls_origin *origin, const struct tls_authorities *authorities,
                    struct err *err)
{
    unsigned char own[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const X509 *certificate = SSL_CTX_get0_certificate(origin->ctx);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool ok = digest && EVP_DigestInit_ex2(digest, EVP_sha256(), NULL) &&
              (!certificate || X509_digest(certificate, EVP_sha256(), own, &len)) &&
              EVP_DigestUpdate(digest, &len, sizeof(len)) && EVP_DigestUpdate(digest, own, len) &&
              EVP_DigestUpdate(digest, origin->name, strlen(origin->name)) &&
              EVP_DigestUpdate(digest, authorities->digest, sizeof(authorities->digest)) &&
              EVP_DigestFinal_ex(digest, origin->identity, NULL);
    EVP_MD_CTX_free(digest);
    return ok ? 0 : err_set(err, "TLS: %s", tls_context_why());
}

static int configure(struct tls_origin *origin, const struct backend_tls_config *config,
                     struct tls_authorities **known, struct err *err)
{
    const struct tls_authorities *authorities;
    if (tls_context_new(TLS_client_method(), &origin->ctx, err) || set_name(origin, err))
        return -1;
    SSL_CTX_set_verify(origin->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(origin->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(origin->ctx, on_session);
    if (config && config->certificate[0] &&
        tls_context_identity(origin->ctx, config->certificate, config->key, err))
        return -1;
    if (trust(origin, config ? config->ca : "", known, &authorities, err))
        return -1;
    return identify(origin, authorities, err);
}

int tls_origin_new(const struct backend_tls_config *config, const char *host,
                   struct tls_authorities **known, struct tls_origin **out, struct err *err)
{
    struct tls_origin *origin = mem_zalloc(sizeof(*origin));
    atomic_init(&origin->refs, 1);
    origin->name = mem_strdup(config && config->server_name[0] ? config->server_name : host);
    origin->address = is_address(origin->name);
    *out = origin;
    if (configure(origin, config, known, err) == 0)
        return 0;
    tls_origin_unref(out);
    return -1;
}

struct tls_origin *tls_origin_ref(struct tls_origin *origin)
{
    atomic_fetch_add_explicit(&origin->refs, 1, memory_order_relaxed);
    return origin;
}

bool tls_origin_same(const struct tls_origin *a, const struct tls_origin *b)
{
    return a == b || (a && b && memcmp(a->identity, b->identity, sizeof(a->identity)) == 0);
}

void tls_origin_unref(struct tls_origin **origin)
{
    struct tls_origin *gone = *origin;
    *origin = NULL;
    if (!gone || atomic_fetch_sub_explicit(&gone->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < WORKERS_MAX; i++)
        SSL_SESSION_free(gone->sessions[i]);
    SSL_CTX_free(gone->ctx);
    free(gone->name);
    free(gone);
}

SSL *tls_origin_ssl(struct tls_origin *origin, unsigned worker, bool http)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL_SESSION **place = &origin->sessions[worker % WORKERS_MAX];
    SSL *ssl = SSL_new(origin->ctx);
    if (!ssl)
        return NULL;
    SSL_set_app_data(ssl, place);
    if ((!origin->address && !SSL_set_tlsext_host_name(ssl, origin->name)) ||
        (http && SSL_set_alpn_protos(ssl, alpn, sizeof(alpn) - 1) != 0)) {
        SSL_free(ssl);
        return NULL;
    }
    if (*place && SSL_SESSION_is_resumable(*place))
        SSL_set_session(ssl, *place);
    SSL_set_connect_state(ssl);
    return ssl;
}

void tls_origin_forget(struct tls_origin *origin, unsigned worker)
{
    SSL_SESSION **place = &origin->sessions[worker % WORKERS_MAX];
    SSL_SESSION_free(*place);
    *place = NULL;
}
