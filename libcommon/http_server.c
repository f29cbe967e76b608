/* Owns the server: one thread of libmicrohttpd reads and writes all connections, and a pool of
 * workers runs the handlers, which may block. A connection whose request is complete is suspended,
 * handed to a worker, and resumed once its answer is there. */
#include "libcommon/http_server.h"

#include "libcommon/clock.h"
#include "libcommon/http_server_guard.h"
#include "libcommon/http_server_listen.h"
#include "libcommon/http_server_request.h"
#include "libcommon/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FINISH_MS      1000
#define FINISH_STEP_MS 10
#define HEAD_MEMORY    (32 * 1024)   /* of a connection: request line, headers, answer's headers */
#define DISCARD_MAX    (1024 * 1024) /* read and thrown away so that a client sees its refusal */
#define SWEEP_NS       1000000000
#define MAX_THREADS    256
#define DEFAULT_IDLE   30

struct http_server {
    struct http_server_options options;
    struct cidr_list trusted;
    struct MHD_Daemon *daemon;
    struct http_server_guard *guard;
    unsigned port;
    _Atomic bool draining;
    pthread_mutex_t lock; /* the queue and `stopping` */
    pthread_cond_t ready;
    struct http_request *first;
    struct http_request **last;
    bool stopping;
    unsigned thread_count;
    pthread_t threads[MAX_THREADS];
};

static int64_t now_ns(void)
{
    return clock_mono_ns(&clock_system);
}

static struct http_server_guarded *guarded_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info != NULL ? info->socket_context : NULL;
}

static void run_handler(struct http_server *server, struct http_request *request)
{
    request->route->handler(request, server->options.ctx);
    if (request->response == NULL) {
        log_error("a handler sent no answer", LOG_STR(REQUEST_ID, request->id),
                  LOG_STR(PATH, request->route->path));
        http_reply_problem(request, PROBLEM_INTERNAL, NULL);
    }
}

/* Waits for a request; NULL: stop. Sweeps late connections while it waits. */
static struct http_request *take(struct http_server *server)
{
    struct http_request *request;

    pthread_mutex_lock(&server->lock);
    while (server->first == NULL && !server->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += SWEEP_NS / 1000000000;
        if (pthread_cond_timedwait(&server->ready, &server->lock, &until) == ETIMEDOUT) {
            pthread_mutex_unlock(&server->lock);
            http_server_guard_sweep(server->guard, now_ns());
            pthread_mutex_lock(&server->lock);
        }
    }
    request = server->first;
    if (request != NULL) {
        server->first = request->next;
        if (server->first == NULL)
            server->last = &server->first;
    }
    pthread_mutex_unlock(&server->lock);
    return request;
}

static void *worker(void *arg)
{
    struct http_server *server = arg;
    struct http_request *request;

    while ((request = take(server)) != NULL) {
        struct MHD_Connection *connection = request->connection;
        run_handler(server, request);
        MHD_resume_connection(connection); /* from here on the request is the server thread's */
    }
    return NULL;
}

/* false: the server stops, nobody would run it. */
static bool hand_over(struct http_server *server, struct http_request *request)
{
    pthread_mutex_lock(&server->lock);
    bool accepted = !server->stopping;
    if (accepted) {
        request->suspended = true;
        MHD_suspend_connection(request->connection);
        *server->last = request;
        server->last = &request->next;
        pthread_cond_signal(&server->ready);
    }
    pthread_mutex_unlock(&server->lock);
    return accepted;
}

static enum MHD_Result send_answer(struct http_server *server, struct http_request *request)
{
    if (atomic_load_explicit(&server->draining, memory_order_relaxed) &&
        MHD_get_response_header(request->response, "Connection") == NULL)
        MHD_add_response_header(request->response, "Connection", "close");
    http_server_guard_arm(server->guard, guarded_of(request->connection), now_ns());
    return MHD_queue_response(request->connection, request->status, request->response);
}

/* A refusal that cannot wait for the body: it is too long to be thrown away, its framing is in
 * doubt, or the client waits for our word before it sends any. */
static bool refuse_now(const struct http_request *request)
{
    const char *length = http_header(request, "Content-Length");

    if (request->response == NULL)
        return false;
    return http_header(request, "Expect") != NULL || request->status == 400 ||
           request->status == 501 ||
           (length != NULL && (strlen(length) > 18 || strtoull(length, NULL, 10) > DISCARD_MAX));
}

static enum MHD_Result begin(struct http_server *server, struct MHD_Connection *connection,
                             const char *url, const char *method, void **slot)
{
    struct http_request *request = mem_zalloc(sizeof(*request));

    request->options = &server->options;
    request->trusted = &server->trusted;
    request->connection = connection;
    request->method = method;
    request->path = mem_strdup(url);
    request->started_ns = now_ns();
    *slot = request;
    http_request_read_head(request);
    return refuse_now(request) ? send_answer(server, request) : MHD_YES;
}

static enum MHD_Result take_body(struct http_request *request, const char *data, size_t *size)
{
    size_t len = *size;

    *size = 0;
    if (request->response == NULL && len > request->route->max_body - request->body.len) {
        request->discarded = request->body.len;
        buf_free(&request->body);
        http_reply_problem(request, PROBLEM_BODY_TOO_LARGE,
                           "the body may have at most %zu bytes here", request->route->max_body);
    }
    if (request->response == NULL) {
        buf_add(&request->body, data, len);
        return MHD_YES;
    }
    request->discarded += len;
    return request->discarded > DISCARD_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **slot)
{
    struct http_server *server = ctx;
    struct http_request *request = *slot;

    (void)version;
    if (request == NULL)
        return begin(server, connection, url, method, slot);
    if (*size > 0)
        return take_body(request, data, size);
    if (request->response != NULL)
        return send_answer(server, request);
    http_server_guard_disarm(server->guard, guarded_of(connection));
    if (hand_over(server, request))
        return MHD_YES;
    http_reply_problem(request, PROBLEM_UNAVAILABLE, "the service is stopping");
    return send_answer(server, request);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    struct http_server *server = ctx;
    struct http_request *request = *slot;

    (void)code;
    if (request == NULL)
        return;
    *slot = NULL;
    if (request->response != NULL && server->options.observe != NULL)
        server->options.observe(server->options.ctx, request->route, request->status,
                                (double)(now_ns() - request->started_ns) / 1e9);
    http_request_free(request);
    http_server_guard_arm(server->guard, guarded_of(connection), now_ns());
}

static void on_connection(void *ctx, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = ctx;
    struct http_server_guarded *guarded = *socket_context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *socket_context = http_server_guard_add(server->guard, fd, now_ns());
    } else if (guarded != NULL) {
        http_server_guard_remove(server->guard, &guarded);
        *socket_context = NULL;
    }
}

/* Escapes stay as they are: segments are split before they are decoded. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *connection, char *text)
{
    (void)ctx;
    (void)connection;
    return strlen(text);
}

static void on_library_log(void *ctx, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

static void on_library_log(void *ctx, const char *fmt, va_list args)
{
    char text[256];

    (void)ctx;
    vsnprintf(text, sizeof(text), fmt, args);
    log_debug("libmicrohttpd", LOG_STR(ERROR, text));
}

static int start_daemon(struct http_server *server, int fd, struct err *err)
{
    const struct http_server_options *options = &server->options;

    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_MEMORY,
        MHD_OPTION_CONNECTION_LIMIT, options->max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
        options->idle_timeout_s, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
    if (server->daemon != NULL)
        return 0;
    close(fd);
    return err_set(err, "the HTTP server on %.100s did not start: %s", options->address,
                   strerror(errno));
}

static int start_workers(struct http_server *server, struct err *err)
{
    while (server->thread_count < server->options.threads) {
        if (pthread_create(&server->threads[server->thread_count], NULL, worker, server) != 0)
            return err_set(err, "cannot start a thread: %s", strerror(errno));
        server->thread_count++;
    }
    return 0;
}

static int trust(struct http_server *server, struct err *err)
{
    static const char *ours[] = {"127.0.0.0/8",    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                 "169.254.0.0/16", "::1/128",    "fe80::/10",     "fc00::/7"};
    static const struct config_list fallback = {ours, ARRAY_LEN(ours)};
    const struct config_list *list = server->options.trusted_proxies;
    if (list == NULL || list->count == 0)
        list = &fallback;
    return cidr_list_new(list, &server->trusted, err);
}

static struct http_server *server_new(const struct http_server_options *options)
{
    struct http_server *server = mem_zalloc(sizeof(*server));
    pthread_condattr_t attr;

    server->options = *options;
    if (server->options.threads == 0)
        server->options.threads = 4;
    if (server->options.threads > MAX_THREADS)
        server->options.threads = MAX_THREADS;
    if (server->options.max_connections == 0)
        server->options.max_connections = 1024;
    if (server->options.idle_timeout_s == 0)
        server->options.idle_timeout_s = DEFAULT_IDLE;
    server->last = &server->first;
    server->guard = http_server_guard_new((int64_t)server->options.idle_timeout_s * 2 * 1000000000);
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&server->ready, &attr);
    pthread_condattr_destroy(&attr);
    return server;
}

int http_server_start(const struct http_server_options *options, struct http_server **out,
                      struct err *err)
{
    struct http_server *server = server_new(options);
    int fd = options->listen_fd;

    if (fd > 0)
        server->port = http_server_port_of(fd);
    if (trust(server, err) != 0 ||
        (fd <= 0 && http_server_listen(options->address, &fd, &server->port, err) != 0) ||
        start_daemon(server, fd, err) != 0 || start_workers(server, err) != 0) {
        http_server_stop(&server);
        return -1;
    }
    *out = server;
    return 0;
}

unsigned http_server_port(const struct http_server *server)
{
    return server->port;
}

int http_server_fd(const struct http_server *server)
{
    if (atomic_load(&server->draining))
        return -1;
    return MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd;
}

void http_server_drain(struct http_server *server)
{
    if (atomic_exchange(&server->draining, true))
        return;
    MHD_socket fd = MHD_quiesce_daemon(server->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
}

/* Requests that were handed over are answered first: none may be suspended when the daemon stops.
 */
static void stop_workers(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    pthread_cond_broadcast(&server->ready);
    pthread_mutex_unlock(&server->lock);
    for (unsigned i = 0; i < server->thread_count; i++)
        pthread_join(server->threads[i], NULL);
}

/* Who was accepted before the listener was handed over has perhaps not been heard yet. */
static void let_finish(struct http_server *server)
{
    for (int64_t waited_ms = 0; waited_ms < FINISH_MS; waited_ms += FINISH_STEP_MS) {
        if (MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)
                ->num_connections == 0)
            return;
        usleep(FINISH_STEP_MS * 1000);
    }
}

void http_server_stop(struct http_server **server)
{
    if (*server == NULL)
        return;
    if ((*server)->daemon != NULL && atomic_load(&(*server)->draining))
        let_finish(*server);
    stop_workers(*server);
    if ((*server)->daemon != NULL)
        MHD_stop_daemon((*server)->daemon);
    http_server_guard_free(&(*server)->guard);
    cidr_list_free(&(*server)->trusted);
    pthread_cond_destroy(&(*server)->ready);
    pthread_mutex_destroy(&(*server)->lock);
    free(*server);
    *server = NULL;
}
