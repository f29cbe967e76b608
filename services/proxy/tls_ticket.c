/* A handshake copies the key that it needs under a lock: there are few of them, and a key that is
 * replaced meanwhile is still the right one for its ticket. */
#include "services/proxy/tls_ticket.h"

#include "libcommon/mem.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

struct ticket_key {
    unsigned char name[16], cipher[32], mac[32];
    int64_t born_s;
    bool set;
};

struct tls_tickets {
    pthread_mutex_t lock;
    struct ticket_key keys[TLS_TICKET_KEPT]; /* the newest first */
    int64_t (*now_s)(void);
    EVP_CIPHER *cipher;
};

static int64_t monotonic_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

struct tls_tickets *tls_tickets_new(int64_t (*now_s)(void))
{
    struct tls_tickets *tickets = mem_zalloc(sizeof(*tickets));
    pthread_mutex_init(&tickets->lock, NULL);
    tickets->now_s = now_s;
    tickets->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    assert(tickets->cipher);
    return tickets;
}

void tls_tickets_free(struct tls_tickets **tickets)
{
    if (!*tickets)
        return;
    EVP_CIPHER_free((*tickets)->cipher);
    pthread_mutex_destroy(&(*tickets)->lock);
    mem_wipe((*tickets)->keys, sizeof((*tickets)->keys));
    free(*tickets);
    *tickets = NULL;
}

static int rotate(struct tls_tickets *tickets, int64_t now_s)
{
    struct ticket_key fresh = {.born_s = now_s, .set = true};
    if (tickets->keys[0].set && now_s - tickets->keys[0].born_s < TLS_TICKET_ROTATE_S)
        return 0;
    if (RAND_bytes(fresh.name, sizeof(fresh.name)) != 1 ||
        RAND_priv_bytes(fresh.cipher, sizeof(fresh.cipher)) != 1 ||
        RAND_priv_bytes(fresh.mac, sizeof(fresh.mac)) != 1)
        return -1;
    memmove(&tickets->keys[1], &tickets->keys[0], sizeof(fresh) * (TLS_TICKET_KEPT - 1));
    tickets->keys[0] = fresh;
    mem_wipe(&fresh, sizeof(fresh));
    return 0;
}

/* The age counts: a proxy that nobody asked for a day has kept keys of yesterday. */
static int find(const struct tls_tickets *tickets, const unsigned char *name, int64_t now_s)
{
    for (int i = 0; i < TLS_TICKET_KEPT; i++)
        if (tickets->keys[i].set && memcmp(tickets->keys[i].name, name, 16) == 0)
            return now_s - tickets->keys[i].born_s < TLS_TICKET_ROTATE_S * TLS_TICKET_KEPT ? i : -1;
    return -1;
}

/* name NULL: the newest. -1: there is none; else its place. */
static int copy_key(struct tls_tickets *tickets, const unsigned char *name, struct ticket_key *out)
{
    int64_t now_s = tickets->now_s();
    pthread_mutex_lock(&tickets->lock);
    int at = rotate(tickets, now_s) ? -1 : name ? find(tickets, name, now_s) : 0;
    if (at >= 0)
        *out = tickets->keys[at];
    pthread_mutex_unlock(&tickets->lock);
    return at;
}

static int start(const struct tls_tickets *tickets, const struct ticket_key *key, unsigned char *iv,
                 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    unsigned char secret[32];
    char digest[] = "SHA256";
    memcpy(secret, key->mac, sizeof(secret));
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret, sizeof(secret)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END};
    int ok = EVP_MAC_CTX_set_params(mac, params) &&
             EVP_CipherInit_ex2(cipher, tickets->cipher, key->cipher, iv, sealing, NULL);
    mem_wipe(secret, sizeof(secret));
    return ok ? 0 : -1;
}

/* OpenSSL's contract: 0 no such key, 1 done, 2 done but give a new ticket, -1 failed. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int sealing)
{
    struct tls_tickets *tickets = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    int at = copy_key(tickets, sealing ? NULL : name, &key);
    if (at < 0)
        return sealing ? -1 : 0;
    if (sealing) {
        memcpy(name, key.name, sizeof(key.name));
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(tickets->cipher)) != 1)
            return -1;
    }
    /* Under TLS 1.3 clients use a ticket once: without a new one they resume every other time only
     * (RFC 8446, appendix C.4). */
    bool renew = at > 0 || (!sealing && SSL_version(ssl) == TLS1_3_VERSION);
    int result = start(tickets, &key, iv, cipher, mac, sealing) ? -1 : renew ? 2 : 1;
    mem_wipe(&key, sizeof(key));
    return result;
}

static struct tls_tickets *shared;

static void make_shared(void)
{
    shared = tls_tickets_new(monotonic_s);
}

struct tls_tickets *tls_tickets_shared(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_shared);
    return shared;
}

void tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx)
{
    SSL_CTX_set_app_data(ctx, tickets);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    /* No ticket is honoured for longer than its key is kept at least. */
    SSL_CTX_set_timeout(ctx, TLS_TICKET_ROTATE_S * (TLS_TICKET_KEPT - 1));
}
