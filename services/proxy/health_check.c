/* The URL carries the name that TLS verifies; where the connection goes is set apart, to the
 * address that requests use too. */
#include "services/proxy/health_check.h"

#include "libcommon/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#define RECEIVED_MAX (64 * 1024) /* of a head, and of a body */

/* A body is cut there, and no fault: its status is known. A head is one. */
static size_t on_body(char *data, size_t size, size_t number, void *arg)
{
    struct health_check *check = arg;
    (void)data;
    check->body += size * number;
    return check->body > RECEIVED_MAX ? 0 : size * number;
}

static size_t on_header(char *data, size_t size, size_t number, void *arg)
{
    struct health_check *check = arg;
    (void)data;
    check->head += size * number;
    return check->head > RECEIVED_MAX ? 0 : size * number;
}

static bool is_tls(const struct health_check *check)
{
    return strncmp(check->config->url, "https://", 8) == 0;
}

static const char *name_of(const struct health_check *check)
{
    const struct backend_tls_config *tls = check->config->tls;
    if (tls && tls->server_name[0])
        return tls->server_name;
    return check->backend->host ? check->backend->host : "localhost";
}

static unsigned port_of(const struct health_check *check, const struct sockaddr *address)
{
    const struct sockaddr_in *in4 = (const void *)address;
    const struct sockaddr_in6 *in6 = (const void *)address;
    if (check->pool->config->health->port)
        return (unsigned)check->pool->config->health->port;
    return ntohs(address->sa_family == AF_INET6 ? in6->sin6_port : in4->sin_port);
}

/* Sets where to connect, and the URL. */
static int set_target(struct health_check *check, struct err *err)
{
    struct backend *backend = check->backend;
    const struct backend_address *known = atomic_load(&backend->address);
    const char *name = name_of(check);
    bool v6_name = strchr(name, ':') != NULL;
    char text[INET6_ADDRSTRLEN] = "";
    unsigned port = 80;
    if (!known || known->count == 0)
        return err_set(err, "its name is not resolved");
    unsigned at = atomic_load_explicit(&backend->turn, memory_order_relaxed) % known->count;
    const struct sockaddr *address = (const void *)&known->list[at].addr;
    if (address->sa_family == AF_UNIX) {
        curl_easy_setopt(check->easy, CURLOPT_UNIX_SOCKET_PATH,
                         ((const struct sockaddr_un *)(const void *)address)->sun_path);
    } else {
        bool v6 = address->sa_family == AF_INET6;
        const void *bytes =
            v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
               : (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
        port = port_of(check, address);
        inet_ntop(address->sa_family, bytes, text, sizeof(text));
        AUTO_FREE char *route = mem_printf(v6 ? "::[%s]:%u" : "::%s:%u", text, port);
        check->route = curl_slist_append(NULL, route);
        curl_easy_setopt(check->easy, CURLOPT_CONNECT_TO, check->route);
    }
    AUTO_FREE char *url =
        mem_printf(v6_name ? "%s://[%s]:%u%s" : "%s://%s:%u%s", is_tls(check) ? "https" : "http",
                   name, port, check->pool->config->health->path);
    curl_easy_setopt(check->easy, CURLOPT_URL, url);
    return 0;
}

static void set_request(struct health_check *check)
{
    const struct health_config *rules = check->pool->config->health;
    if (rules->type == HEALTH_TCP) {
        curl_easy_setopt(check->easy, CURLOPT_CONNECT_ONLY, 1L);
        return;
    }
    if (strcmp(rules->method, "HEAD") == 0)
        curl_easy_setopt(check->easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(rules->method, "GET") != 0)
        curl_easy_setopt(check->easy, CURLOPT_CUSTOMREQUEST, rules->method);
    const char *host = rules->host[0] ? rules->host : backend_host(check->backend).base;
    AUTO_FREE char *line = mem_printf("Host: %s", host);
    check->headers = curl_slist_append(NULL, line);
    check->headers = curl_slist_append(check->headers, "User-Agent: octroi-health");
    check->headers = curl_slist_append(check->headers, "Accept:");
    curl_easy_setopt(check->easy, CURLOPT_HTTPHEADER, check->headers);
    curl_easy_setopt(check->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(check->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(check->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(check->easy, CURLOPT_WRITEDATA, check);
    curl_easy_setopt(check->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(check->easy, CURLOPT_HEADERDATA, check);
}

static void set_tls(struct health_check *check)
{
    const struct backend_tls_config *tls = check->config->tls;
    if (!tls || !is_tls(check) || check->pool->config->health->type == HEALTH_TCP)
        return;
    if (tls->ca[0]) {
        /* As requests have it: these and no others, and as the file is now. */
        curl_easy_setopt(check->easy, CURLOPT_CAINFO, tls->ca);
        curl_easy_setopt(check->easy, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(check->easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    }
    if (tls->certificate[0]) {
        curl_easy_setopt(check->easy, CURLOPT_SSLCERT, tls->certificate);
        curl_easy_setopt(check->easy, CURLOPT_SSLKEY, tls->key);
    }
}

static void set_manners(struct health_check *check)
{
    curl_easy_setopt(check->easy, CURLOPT_PRIVATE, check);
    curl_easy_setopt(check->easy, CURLOPT_ERRORBUFFER, check->error);
    curl_easy_setopt(check->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(check->easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(check->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(check->easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(check->easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(check->easy, CURLOPT_TIMEOUT_MS, (long)check->pool->config->health->timeout);
}

int health_check_begin(struct health_check *check, struct err *err)
{
    check->easy = curl_easy_init();
    check->head = check->body = 0;
    check->error[0] = '\0';
    if (!check->easy)
        return err_set(err, "no transfer can be made");
    set_manners(check);
    set_request(check);
    set_tls(check);
    if (set_target(check, err) == 0)
        return 0;
    health_check_end(check);
    return -1;
}

int health_check_verdict(struct health_check *check, CURLcode code, struct err *err)
{
    const struct health_config *rules = check->pool->config->health;
    long status = 0;
    curl_easy_getinfo(check->easy, CURLINFO_RESPONSE_CODE, &status);
    bool cut = code == CURLE_WRITE_ERROR && check->body > RECEIVED_MAX;
    if (code != CURLE_OK && !cut)
        return err_set(err, "%s", check->error[0] ? check->error : curl_easy_strerror(code));
    if (rules->type == HEALTH_TCP)
        return 0;
    if (status < (long)rules->expect_low || status > (long)rules->expect_high)
        return err_set(err, "status %ld", status);
    return 0;
}

void health_check_end(struct health_check *check)
{
    if (check->easy)
        curl_easy_cleanup(check->easy);
    curl_slist_free_all(check->headers);
    curl_slist_free_all(check->route);
    check->easy = NULL;
    check->headers = check->route = NULL;
}
