/* octroi-top: asks the proxy's ops listener for /status each second and draws it. */
#include "libcommon/clock.h"
#include "tools/top/fetch.h"
#include "tools/top/view.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TOKEN_MAX 4096
#define ROWS      24 /* of a terminal that does not say */

static volatile sig_atomic_t ended;

struct options {
    const char *url, *token_file;
    bool once;
};

static const char usage[] =
    "usage: octroi-top [--url URL] [--token-file FILE] [--once]\n"
    "Shows what a proxy is doing, each second; Ctrl-C ends it.\n\n"
    "  --url URL          the operations listener, http://127.0.0.1:9480 by default\n"
    "  --token-file FILE  holds ops.metrics_bearer_token\n"
    "  --once             prints one page and ends\n"
    "  -V, --version      prints the version\n"
    "  -h, --help         prints this\n";

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *out)
{
    static const struct option long_options[] = {
        {"url", required_argument, NULL, 'u'}, {"token-file", required_argument, NULL, 't'},
        {"once", no_argument, NULL, 'o'},      {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "Vh", long_options, NULL)) != -1) {
        if (option == 'u')
            out->url = optarg;
        else if (option == 't')
            out->token_file = optarg;
        else if (option == 'o')
            out->once = true;
        else if (option == 'V')
            return printf("octroi-top %s\n", OCTROI_VERSION) > 0 ? 0 : 1;
        else
            return fputs(usage, option == 'h' ? stdout : stderr) < 0 || option != 'h' ? 2 : 0;
    }
    if (optind < argc)
        fputs(usage, stderr);
    return optind < argc ? 2 : -1;
}

/* The file's first line; the caller's. */
static int read_token(const char *path, char **out, struct err *err)
{
    char text[TOKEN_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(err, "%s: %s", path, strerror(errno));
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (len < 0)
        return err_set(err, "%s: %s", path, strerror(errno));
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (text[0] == '\0')
        return err_set(err, "%s: there is no token", path);
    *out = mem_strdup(text);
    mem_wipe(text, sizeof(text));
    return 0;
}

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

static void put(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len);
        if (n <= 0 && errno != EINTR)
            ended = 1;
        if (ended)
            return;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static int once(struct fetch *fetch, struct err *err)
{
    AUTO_JSON json_t *now = NULL;
    AUTO_BUF struct buf page = {0};

    if (fetch_status(fetch, &now, err) != 0 ||
        view_draw(&(struct view){.now = now}, &page, err) != 0)
        return -1;
    put(page.data, page.len);
    return 0;
}

static unsigned rows(void)
{
    struct winsize size = {0};

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return size.ws_row > 2 ? size.ws_row - 1U : ROWS;
}

/* Home, each line to its end, and what is below. */
static void show(const struct buf *page)
{
    AUTO_BUF struct buf out = {0};

    buf_puts(&out, "\x1b[H");
    for (const char *at = page->data; at != NULL && *at != '\0';) {
        size_t len = strcspn(at, "\n");
        buf_add(&out, at, len);
        buf_puts(&out, "\x1b[K\r\n");
        at += len + (at[len] == '\n');
    }
    buf_puts(&out, "\x1b[J");
    put(out.data, out.len);
}

static void turn(struct fetch *fetch, json_t **before, int64_t *before_ms)
{
    AUTO_BUF struct buf page = {0};
    AUTO_JSON json_t *now = NULL;
    struct err err = {{0}};
    int64_t now_ms = clock_mono_ms(&clock_system);
    struct view view = {
        .before = *before, .seconds = (double)(now_ms - *before_ms) / 1000, .rows = rows()};

    int result = fetch_status(fetch, &now, &err);
    view.now = now;
    if (result == 0)
        result = view_draw(&view, &page, &err);
    if (result != 0)
        buf_printf(&page, "octroi-top: %s\n", err.msg);
    show(&page);
    json_cleanup(before);
    *before = result == 0 ? MEM_STEAL(now) : NULL;
    *before_ms = now_ms;
}

static void watch(struct fetch *fetch)
{
    static const struct timespec second = {.tv_sec = 1};
    AUTO_JSON json_t *before = NULL;
    int64_t before_ms = 0;

    put("\x1b[?1049h\x1b[?25l", 14); /* the other screen, no cursor */
    while (!ended) {
        turn(fetch, &before, &before_ms);
        if (!ended)
            nanosleep(&second, NULL);
    }
    if (write(STDOUT_FILENO, "\x1b[?25h\x1b[?1049l", 14) < 0)
        return; /* nobody is there to see it */
}

int main(int argc, char **argv)
{
    struct options options = {.url = "http://127.0.0.1:9480"};
    const struct sigaction action = {.sa_handler = on_signal};
    AUTO_FREE char *token = NULL;
    struct fetch *fetch = NULL;
    struct err err = {{0}};

    int status = parse(argc, argv, &options);
    if (status >= 0)
        return status;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    int result = options.token_file != NULL ? read_token(options.token_file, &token, &err) : 0;
    if (result == 0)
        result = fetch_new(options.url, token, &ended, &fetch, &err);
    if (result == 0 && !options.once && !isatty(STDOUT_FILENO))
        result = err_set(&err, "standard output is no terminal: --once prints one page");
    if (result == 0 && options.once)
        result = once(fetch, &err);
    else if (result == 0)
        watch(fetch);
    if (result != 0)
        fprintf(stderr, "octroi-top: %s\n", err.msg);
    fetch_free(&fetch);
    return result == 0 ? 0 : 1;
}
