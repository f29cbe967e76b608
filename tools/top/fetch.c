/* Owns the way to the ops listener. */
#include "tools/top/fetch.h"

#include "libcommon/buf.h"

#include <curl/curl.h>
#include <string.h>

#define ANSWER_MAX (8 * 1024 * 1024)
#define TIMEOUT_MS 5000

struct fetch {
    CURL *curl;
    struct curl_slist *headers;
    struct buf body;
    const volatile sig_atomic_t *ended;
};

/* Less than what came ends the transfer. */
static size_t take(char *data, size_t size, size_t count, void *ctx)
{
    struct fetch *fetch = ctx;

    buf_add(&fetch->body, data, size * count);
    return fetch->body.overflow ? 0 : size * count;
}

static int progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct fetch *fetch = ctx;

    (void)a, (void)b, (void)c, (void)d;
    return *fetch->ended != 0;
}

static void set_options(struct fetch *fetch, const char *url)
{
    size_t len = strlen(url);
    AUTO_FREE char *whole =
        mem_printf("%s%sstatus", url, len > 0 && url[len - 1] == '/' ? "" : "/");

    curl_easy_setopt(fetch->curl, CURLOPT_URL, whole);
    curl_easy_setopt(fetch->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(fetch->curl, CURLOPT_HTTPHEADER, fetch->headers);
    curl_easy_setopt(fetch->curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(fetch->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(fetch->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(fetch->curl, CURLOPT_WRITEDATA, fetch);
    curl_easy_setopt(fetch->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(fetch->curl, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(fetch->curl, CURLOPT_XFERINFODATA, fetch);
}

int fetch_new(const char *url, const char *token, const volatile sig_atomic_t *ended,
              struct fetch **out, struct err *err)
{
    if (token != NULL && strpbrk(token, "\r\n") != NULL)
        return err_set(err, "the token holds a line end");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct fetch *fetch = mem_zalloc(sizeof(*fetch));
    fetch->curl = curl_easy_init();
    fetch->ended = ended;
    fetch->body.max = ANSWER_MAX;
    *out = fetch;
    if (fetch->curl == NULL)
        return err_set(err, "libcurl cannot be used");
    if (token != NULL) {
        AUTO_FREE char *header = mem_printf("Authorization: Bearer %s", token);
        fetch->headers = curl_slist_append(NULL, header);
    }
    set_options(fetch, url);
    return 0;
}

void fetch_free(struct fetch **fetch)
{
    if (*fetch == NULL)
        return;
    curl_easy_cleanup((*fetch)->curl);
    curl_slist_free_all((*fetch)->headers);
    buf_free(&(*fetch)->body);
    free(*fetch);
    *fetch = NULL;
    curl_global_cleanup();
}

int fetch_status(struct fetch *fetch, json_t **out, struct err *err)
{
    long status = 0;

    buf_clear(&fetch->body);
    fetch->body.overflow = false;
    CURLcode code = curl_easy_perform(fetch->curl);
    if (fetch->body.overflow)
        return err_set(err, "the answer is larger than %d MiB", ANSWER_MAX / 1048576);
    if (code != CURLE_OK)
        return err_set(err, "%s", curl_easy_strerror(code));
    curl_easy_getinfo(fetch->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 401)
        return err_set(err, "the token is missing or wrong (--token-file)");
    if (status != 200)
        return err_set(err, "the answer has status %ld", status);
    return json_parse(fetch->body.data != NULL ? fetch->body.data : "", fetch->body.len, out, err);
}
