/* Reading the address of a Redis server. */
#include "libcommon/redis_url.h"

#include "libcommon/mem.h"

#include <string.h>

#define DEFAULT_PORT 6379
#define MAX_DB       9999
#define FORM         "redis url: must be redis://[[user]:password@]host[:port][/db] or unix:///path"

static void free_secret(char **text)
{
    if (*text != NULL)
        mem_wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void redis_url_free(struct redis_url **urlp)
{
    struct redis_url *url = *urlp;
    if (url == NULL)
        return;
    *urlp = NULL;
    free(url->host);
    free(url->path);
    free(url->user);
    free_secret(&url->password);
    free(url);
}

static int hex_value(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* Percent-decoded; NULL where an escape is broken or is NUL. */
static char *decode(const char *text, size_t len)
{
    char *out = mem_alloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = high < 0 ? -1 : hex_value(text[i + 2]);
            c = (char)(low < 0 ? 0 : high << 4 | low);
            i += 2;
            if (c == '\0') {
                free(out);
                return NULL;
            }
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return out;
}

/* Digits only, lo..hi; -1 otherwise. */
static int parse_number(const char *text, size_t len, int lo, int hi, int *out)
{
    int value = 0;
    if (len == 0 || len > 5)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    if (value < lo || value > hi)
        return -1;
    *out = value;
    return 0;
}

static int parse_user(struct redis_url *url, const char *text, size_t len, struct err *err)
{
    const char *colon = memchr(text, ':', len);
    if (colon == NULL)
        return err_set(err, FORM);
    size_t user_len = (size_t)(colon - text);
    if (user_len > 0 && (url->user = decode(text, user_len)) == NULL)
        return err_set(err, "redis url: the user has a broken escape");
    url->password = decode(colon + 1, len - user_len - 1);
    if (url->password == NULL || url->password[0] == '\0')
        return err_set(err, "redis url: the password is empty or has a broken escape");
    return 0;
}

static int parse_host(struct redis_url *url, const char *text, size_t len, struct err *err)
{
    const char *end = text + len;
    const char *host = text, *host_end;
    if (len > 0 && *text == '[') {
        host = text + 1;
        host_end = memchr(host, ']', len - 1);
        text = host_end == NULL ? end : host_end + 1;
    } else {
        host_end = memchr(text, ':', len);
        host_end = host_end == NULL ? end : host_end;
        text = host_end;
    }
    if (host_end == NULL || host_end == host || host_end - host > 255)
        return err_set(err, "redis url: the host is missing or not valid");
    url->host = mem_strndup(host, (size_t)(host_end - host));
    url->port = DEFAULT_PORT;
    if (text == end)
        return 0;
    if (*text != ':' || parse_number(text + 1, (size_t)(end - text) - 1, 1, 65535, &url->port) != 0)
        return err_set(err, "redis url: the port must be 1 to 65535");
    return 0;
}

static int parse_tcp(struct redis_url *url, const char *text, struct err *err)
{
    const char *slash = strchr(text, '/');
    const char *at = strrchr(text, '@');
    if (at != NULL && slash != NULL && slash < at)
        return err_set(err, "redis url: a slash in the password must be written %%2F");
    if (slash != NULL && slash[1] != '\0' &&
        parse_number(slash + 1, strlen(slash + 1), 0, MAX_DB, &url->db) != 0)
        return err_set(err, "redis url: the database must be a number from 0 to %d", MAX_DB);
    const char *end = slash == NULL ? text + strlen(text) : slash;
    if (at != NULL && parse_user(url, text, (size_t)(at - text), err) != 0)
        return -1;
    const char *host = at == NULL ? text : at + 1;
    return parse_host(url, host, (size_t)(end - host), err);
}

int redis_url_parse(const char *text, struct redis_url **out, struct err *err)
{
    struct redis_url *url = mem_zalloc(sizeof(*url));
    int rc;
    if (strncmp(text, "unix:///", 8) == 0) {
        url->path = mem_strdup(text + 7);
        rc = text[8] == '\0' ? err_set(err, "redis url: the path is empty") : 0;
    } else if (strncmp(text, "redis://", 8) == 0) {
        rc = parse_tcp(url, text + 8, err);
    } else {
        rc = err_set(err, FORM);
    }
    if (rc != 0)
        redis_url_free(&url);
    *out = url;
    return rc;
}
