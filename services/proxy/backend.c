/* Reads a backend's URL and looks its name up. */
#include "services/proxy/backend.h"

#include "libcommon/mem.h"

#include <netdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/un.h>

/* Who reads an answer does so within one callback, and a name is asked for once a second: so many
 * answers later nobody looks at it any more. A name that never stands still costs no more. */
#define RETIRED_MAX 64

/* Of changes to an address: the resolver's thread and a reload may look the same name up. */
static pthread_mutex_t changes = PTHREAD_MUTEX_INITIALIZER;

static int split_authority(const char *text, struct backend *backend, struct err *err)
{
    const char *end = text + strlen(text);
    if (end > text && end[-1] == '/')
        end--;
    const char *close = text[0] == '[' ? memchr(text, ']', (size_t)(end - text)) : NULL;
    const char *colon = memchr(close ? close : text, ':', (size_t)(end - (close ? close : text)));
    const char *host_end = colon ? colon : end;
    const char *host = text[0] == '[' ? text + 1 : text;
    if (text[0] == '[' && (!close || close + 1 != host_end))
        return err_set(err, "the address in brackets is malformed");
    for (const char *c = text; c < end; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]", *c))
            return err_set(err, "only host and port may stand behind the scheme");
    size_t host_len = (size_t)((close ? close : host_end) - host);
    if (host_len == 0 || host_len > 253)
        return err_set(err, "the host is missing or too long");
    backend->host = mem_strndup(host, host_len);
    backend->port = colon ? mem_strndup(colon + 1, (size_t)(end - colon - 1))
                          : mem_strdup(backend->tls ? "443" : "80");
    size_t digits = strspn(backend->port, "0123456789");
    if (digits == 0 || digits > 5 || backend->port[digits] || atoi(backend->port) < 1 ||
        atoi(backend->port) > 65535)
        return err_set(err, "the port is not from 1 to 65535");
    char *authority = mem_strndup(text, (size_t)(end - text));
    backend->authority = h2o_iovec_init(authority, strlen(authority));
    return 0;
}

static int by_address(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(((struct backend_address *)0)->list[0]));
}

/* Name servers answer in any order, and in another each time: the list is sorted. */
static int look_up(const struct backend *backend, int flags, struct backend_address *out,
                   struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *list;
    int status = getaddrinfo(backend->host, backend->port, &hints, &list);
    if (status != 0)
        return err_set(err, "%s: %s", backend->host, gai_strerror(status));
    memset(out, 0, sizeof(*out));
    for (struct addrinfo *at = list; at && out->count < BACKEND_ADDRESSES_MAX; at = at->ai_next) {
        memcpy(&out->list[out->count].addr, at->ai_addr, at->ai_addrlen);
        out->list[out->count++].len = at->ai_addrlen;
    }
    freeaddrinfo(list);
    qsort(out->list, out->count, sizeof(out->list[0]), by_address);
    return 0;
}

static bool same_addresses(const struct backend_address *a, const struct backend_address *b)
{
    if (a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (by_address(&a->list[i], &b->list[i]) != 0)
            return false;
    return true;
}

static void free_addresses(struct backend_address *address)
{
    while (address) {
        struct backend_address *next = address->retired;
        free(address);
        address = next;
    }
}

static void forget_oldest(struct backend_address *address)
{
    for (unsigned i = 0; address && i < RETIRED_MAX; i++)
        address = address->retired;
    if (!address)
        return;
    free_addresses(address->retired);
    address->retired = NULL;
}

static void take_over(struct backend *backend, const struct backend_address *found)
{
    pthread_mutex_lock(&changes);
    struct backend_address *old = atomic_load(&backend->address);
    if (!old || !same_addresses(old, found)) {
        struct backend_address *address = mem_alloc(sizeof(*address));
        *address = *found;
        address->version = old ? old->version + 1 : 1;
        address->retired = old;
        forget_oldest(address);
        atomic_store(&backend->address, address);
    }
    pthread_mutex_unlock(&changes);
}

int backend_resolve(struct backend *backend, struct err *err)
{
    struct backend_address found;
    if (look_up(backend, 0, &found, err))
        return -1;
    take_over(backend, &found);
    return 0;
}

/* FNV-1a, finished so that every bit counts. */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3ULL;
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93ULL;
    return hash ^ hash >> 32;
}

/* Its address is its path: there is nothing to look up, and no host to name. */
static int init_unix(struct backend *backend, const char *path, struct err *err)
{
    struct backend_address found = {.count = 1};
    struct sockaddr_un *address = (void *)&found.list[0].addr;
    size_t len = strlen(path);
    if (path[0] != '/' || len >= sizeof(address->sun_path))
        return err_set(err, "backend unix:%s: a path from the root, of at most %zu bytes", path,
                       sizeof(address->sun_path) - 1);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len);
    found.list[0].len = sizeof(*address);
    char *authority = mem_printf("unix:%s", path);
    backend->authority = h2o_iovec_init(authority, strlen(authority));
    backend->hash = hash_text(authority);
    backend->literal = true;
    take_over(backend, &found);
    return 0;
}

h2o_iovec_t backend_host(const struct backend *backend)
{
    return backend->host ? backend->authority : h2o_iovec_init(H2O_STRLIT("localhost"));
}

int backend_init(struct backend *backend, const struct backend_config *config, struct err *err)
{
    static const char clear[] = "http://", secure[] = "https://";
    struct backend_address found;
    struct err unresolved;
    if (strncmp(config->url, "unix:", 5) == 0)
        return init_unix(backend, config->url + 5, err);
    const char *rest = config->url + sizeof(clear) - 1;
    backend->tls = strncmp(config->url, secure, sizeof(secure) - 1) == 0;
    if (backend->tls)
        rest = config->url + sizeof(secure) - 1;
    else if (strncmp(config->url, clear, sizeof(clear) - 1) != 0)
        return err_set(err, "backend %s: url begins with http://, https:// or unix:/", config->url);
    if (split_authority(rest, backend, err))
        return err_wrap(err, "backend %s", config->url);
    backend->hash = hash_text(backend->authority.base);
    backend->literal = look_up(backend, AI_NUMERICHOST, &found, &unresolved) == 0;
    if (backend->literal)
        take_over(backend, &found);
    return 0;
}

void backend_clear(struct backend *backend)
{
    free_addresses(atomic_load(&backend->address));
    free(backend->host);
    free(backend->port);
    free(backend->authority.base);
    free(backend->key.base);
}
