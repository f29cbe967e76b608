/* Names are taken from the certificates, so that a name cannot be configured for a certificate that
 * does not carry it. Of two certificates with the same name the first is taken. */
#include "services/proxy/tls_server.h"

#include "libcommon/mem.h"
#include "services/proxy/tls_context.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <string.h>

#define NAME_MAX_LEN 253

struct tls_name {
    char *text; /* lower case; of a wildcard what follows the star */
    SSL_CTX *ctx;
    size_t order;
};

struct tls_server {
    atomic_uint refs;
    SSL_CTX **contexts;
    size_t context_count;
    struct tls_name *names; /* sorted by text */
    size_t name_count;
};

static int by_text(const void *a, const void *b)
{
    const struct tls_name *left = a, *right = b;
    return strcmp(left->text, right->text);
}

static int by_text_and_order(const void *a, const void *b)
{
    const struct tls_name *left = a, *right = b;
    int order = by_text(a, b);
    return order ? order : left->order < right->order ? -1 : 1;
}

/* The first of several with the same text. */
static void sort_names(struct tls_server *server)
{
    size_t kept = 0;
    if (server->name_count == 0)
        return;
    qsort(server->names, server->name_count, sizeof(*server->names), by_text_and_order);
    for (size_t i = 1; i < server->name_count; i++) {
        if (strcmp(server->names[i].text, server->names[kept].text) == 0)
            free(server->names[i].text);
        else
            server->names[++kept] = server->names[i];
    }
    server->name_count = kept + 1;
}

static void add_name(struct tls_server *server, SSL_CTX *ctx, const ASN1_STRING *name)
{
    const char *text = (const char *)ASN1_STRING_get0_data(name);
    int len = ASN1_STRING_length(name);
    if (len > 2 && text[0] == '*' && text[1] == '.') {
        text++;
        len--;
    }
    if (len <= 0 || len > NAME_MAX_LEN || memchr(text, '\0', (size_t)len))
        return;
    server->names = mem_resize(server->names, server->name_count + 1, sizeof(*server->names));
    struct tls_name *added = &server->names[server->name_count];
    *added = (struct tls_name){mem_strndup(text, (size_t)len), ctx, server->name_count};
    server->name_count++;
    for (char *c = added->text; *c; c++)
        *c = (char)tolower((unsigned char)*c);
}

/* The subject's common name counts only where there is no list of names (RFC 6125 6.4.4). */
static void add_names(struct tls_server *server, SSL_CTX *ctx)
{
    const X509 *certificate = SSL_CTX_get0_certificate(ctx);
    GENERAL_NAMES *list = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type == GEN_DNS)
            add_name(server, ctx, name->d.dNSName);
    }
    if (!list) {
        const X509_NAME *subject = X509_get_subject_name(certificate);
        int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
        if (at >= 0)
            add_name(server, ctx, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    }
    GENERAL_NAMES_free(list);
}

static SSL_CTX *find(const struct tls_server *server, char *text)
{
    struct tls_name key = {.text = text};
    const struct tls_name *found =
        server->name_count ? bsearch(&key, server->names, server->name_count, sizeof(key), by_text)
                           : NULL;
    return found ? found->ctx : NULL;
}

SSL_CTX *tls_server_choose(const struct tls_server *server, const char *name)
{
    char text[NAME_MAX_LEN + 1];
    size_t len = name ? strlen(name) : 0;
    if (len && name[len - 1] == '.')
        len--;
    if (len == 0 || len > NAME_MAX_LEN)
        return server->contexts[0];
    for (size_t i = 0; i < len; i++)
        text[i] = (char)tolower((unsigned char)name[i]);
    text[len] = '\0';
    /* A leading dot would be taken for a wildcard's rest. */
    SSL_CTX *ctx = text[0] == '.' ? NULL : find(server, text);
    char *dot = text[0] == '.' ? NULL : strchr(text, '.');
    if (!ctx && dot)
        ctx = find(server, dot);
    return ctx ? ctx : server->contexts[0];
}

static int on_name(SSL *ssl, int *alert, void *arg)
{
    const struct tls_server *server = arg;
    (void)alert;
    SSL_set_SSL_CTX(ssl,
                    tls_server_choose(server, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)));
    return SSL_TLSEXT_ERR_OK;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                   const unsigned char *offered, unsigned offered_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, len, ours, sizeof(ours) - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A session of one policy is none of another: it may have been made without a certificate, or with
 * that of an authority that is trusted no more. */
static int set_session_policy(SSL_CTX *ctx, const struct listener_tls_config *config)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int ok = digest && EVP_DigestInit_ex2(digest, EVP_sha256(), NULL) &&
             EVP_DigestUpdate(digest, &config->client_auth, sizeof(config->client_auth)) &&
             tls_context_digest(ctx, digest) && EVP_DigestFinal_ex(digest, id, &len) &&
             SSL_CTX_set_session_id_context(ctx, id, len);
    EVP_MD_CTX_free(digest);
    return ok ? 0 : -1;
}

/* A resumed session is not verified again: one whose certificate has expired meanwhile is none. */
static SSL_TICKET_RETURN on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                          size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    const X509 *certificate = session ? SSL_SESSION_get0_peer(session) : NULL;
    (void)ssl, (void)name, (void)name_len, (void)arg;
    if ((status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) ||
        (certificate && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

static int set_client_auth(SSL_CTX *ctx, const struct listener_tls_config *config, struct err *err)
{
    int mode = SSL_VERIFY_PEER;
    if (config->client_auth == CLIENT_AUTH_NONE)
        return 0;
    if (tls_context_trust(ctx, "client_ca", config->client_ca, err))
        return -1;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(config->client_ca);
    if (!names)
        return err_set(err, "client_ca: %s: %s", config->client_ca, tls_context_why());
    SSL_CTX_set_client_CA_list(ctx, names);
    if (config->client_auth == CLIENT_AUTH_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
    SSL_CTX_set_session_ticket_cb(ctx, NULL, on_ticket_opened, NULL);
    return 0;
}

static int configure(SSL_CTX *ctx, const struct listener_tls_config *config, bool http,
                     struct tls_server *server, struct err *err)
{
    if (config->min_version == TLS_1_3 && !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION))
        return err_set(err, "min_version: %s", tls_context_why());
    /* Ours: AES-128 is cheaper for both. But who puts ChaCha first has no AES hardware. */
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, server);
    if (http)
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    if (set_client_auth(ctx, config, err))
        return -1;
    return set_session_policy(ctx, config) ? err_set(err, "TLS: %s", tls_context_why()) : 0;
}

static int add_context(struct tls_server *server, const struct listener_tls_config *config,
                       const char *certificate, const char *key, bool http,
                       struct tls_tickets *tickets, struct err *err)
{
    SSL_CTX *ctx;
    if (tls_context_new(TLS_server_method(), &ctx, err))
        return -1;
    server->contexts[server->context_count++] = ctx;
    if (configure(ctx, config, http, server, err) ||
        tls_context_identity(ctx, certificate, key, err))
        return -1;
    if (tickets)
        tls_tickets_use(tickets, ctx);
    add_names(server, ctx);
    return 0;
}

static int add_contexts(struct tls_server *server, const struct listener_tls_config *config,
                        bool http, struct tls_tickets *tickets, struct err *err)
{
    const struct certificate_config *more = config->certificates.items;
    if (config->certificate[0] &&
        add_context(server, config, config->certificate, config->key, http, tickets, err))
        return -1;
    for (size_t i = 0; i < config->certificates.count; i++)
        if (add_context(server, config, more[i].certificate, more[i].key, http, tickets, err))
            return err_wrap(err, "certificates[%zu]", i);
    return 0;
}

int tls_server_new(const struct listener_tls_config *config, bool http, struct tls_tickets *tickets,
                   struct tls_server **out, struct err *err)
{
    struct tls_server *server = mem_zalloc(sizeof(*server));
    atomic_init(&server->refs, 1);
    server->contexts = mem_array(config->certificates.count + 1, sizeof(*server->contexts));
    *out = server;
    if (add_contexts(server, config, http, tickets, err)) {
        tls_server_unref(out);
        return -1;
    }
    sort_names(server);
    return 0;
}

struct tls_server *tls_server_ref(struct tls_server *server)
{
    atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
    return server;
}

void tls_server_unref(struct tls_server **server)
{
    struct tls_server *gone = *server;
    *server = NULL;
    if (!gone || atomic_fetch_sub_explicit(&gone->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < gone->context_count; i++)
        SSL_CTX_free(gone->contexts[i]);
    for (size_t i = 0; i < gone->name_count; i++)
        free(gone->names[i].text);
    free(gone->contexts);
    free(gone->names);
    free(gone);
}

SSL_CTX *tls_server_context(struct tls_server *server)
{
    return server->contexts[0];
}
