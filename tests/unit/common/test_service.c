/* The service skeleton as a process: the parent starts a small service, reads its log, asks its ops
 * listener, sends it signals and looks at how it ends. */
#include "libcommon/buf.h"
#include "libcommon/http_server_listen.h"
#include "libcommon/mem.h"
#include "libcommon/service.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct demo_config {
    struct service_config service;
    const char *greeting;
    bool broken;
    bool away;
    bool stubborn;
};

static const struct config_field demo_fields[] = {
    SERVICE_CONFIG_FIELDS(struct demo_config, service, "127.0.0.1:0"),
    CONFIG_FIELD(struct demo_config, greeting, "greeting", CONFIG_STRING, .fallback = "hello"),
    CONFIG_FIELD(struct demo_config, broken, "broken", CONFIG_BOOL),
    CONFIG_FIELD(struct demo_config, away, "away", CONFIG_BOOL),
    CONFIG_FIELD(struct demo_config, stubborn, "stubborn", CONFIG_BOOL),
    CONFIG_FIELD(struct demo_config, service.drain_delay_ms, "drain_delay", CONFIG_DURATION),
    CONFIG_FIELD(struct demo_config, service.shutdown_ms, "shutdown", CONFIG_DURATION),
};

static const struct config_schema demo_schema = {.name = "demo",
                                                 .size = sizeof(struct demo_config),
                                                 .fields = demo_fields,
                                                 .count = ARRAY_LEN(demo_fields)};

static const struct metric_desc demo_metrics[] = {
    {.name = "octroi_demo_reloads_total", .kind = METRIC_COUNTER, .help = "reloads taken over"},
};

static int demo_start(struct service *service, struct err *err)
{
    const struct demo_config *config = service_configuration(service);

    service_dependency(service, "thing", true, !config->away, "it said no");
    service_dependency(service, "thing", true, !config->away, "it said no");
    service_dependency(service, "nicety", false, false, NULL);
    return config->broken ? err_set(err, "the thing is broken") : 0;
}

static int demo_reload(struct service *service, const void *config, struct err *err)
{
    const struct demo_config *next = config;

    if (next->broken)
        return err_set(err, "broken is not for reload");
    log_info(next->greeting);
    metrics_count(service_metrics(service), 0, NULL, NULL);
    return 0;
}

static void demo_drain(struct service *service)
{
    (void)service;
    log_info("demo drains");
}

static bool demo_drained(struct service *service)
{
    const struct demo_config *config = service_configuration(service);

    return !config->stubborn;
}

static void demo_stop(struct service *service)
{
    (void)service;
    log_info("demo stops");
}

static const struct service_desc demo = {.name = "demo",
                                         .summary = "A service for tests.",
                                         .default_config = "/nonexistent/demo.yaml",
                                         .config_env = "OCTROI_TEST_DEMO_CONFIG",
                                         .config = &demo_schema,
                                         .metrics = demo_metrics,
                                         .metric_count = ARRAY_LEN(demo_metrics),
                                         .start = demo_start,
                                         .reload = demo_reload,
                                         .drain = demo_drain,
                                         .drained = demo_drained,
                                         .stop = demo_stop};

struct child {
    pid_t pid;
    int log;
    struct buf seen; /* standard output and error so far */
    char address[64];
};

static char config_path[64];

static void write_config(const char *text)
{
    FILE *file = fopen(config_path, "we");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void spawn(struct child *child, const char *const *args)
{
    char *argv[8] = {NULL};
    int argc = 0;
    int pipe_fds[2];

    for (; args[argc] != NULL; argc++)
        argv[argc] = mem_strdup(args[argc]);
    assert_int_equal(pipe(pipe_fds), 0);
    fflush(NULL);
    child->pid = fork();
    assert_true(child->pid >= 0);
    if (child->pid == 0) {
        dup2(pipe_fds[1], STDOUT_FILENO);
        dup2(pipe_fds[1], STDERR_FILENO);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        int status = service_main(&demo, argc, argv);
        fflush(NULL);
        for (int i = 0; i < argc; i++)
            free(argv[i]);
        exit(status); /* not _exit: the leak check belongs to the test */
    }
    close(pipe_fds[1]);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    child->log = pipe_fds[0];
}

/* Reads on until the text was seen; false: the output ended. */
static bool await(struct child *child, const char *text)
{
    while (child->seen.data == NULL || strstr(child->seen.data, text) == NULL) {
        char piece[4096];
        ssize_t n = read(child->log, piece, sizeof(piece));
        if (n <= 0)
            return false;
        buf_add(&child->seen, piece, (size_t)n);
    }
    return true;
}

static void expect(struct child *child, const char *text)
{
    if (!await(child, text))
        fail_msg("%s was not said: %s", text, child->seen.data);
}

/* To the end of its output; its exit status. */
static int finish(struct child *child)
{
    int status;

    await(child, "\n\nnever said\n\n");
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    close(child->log);
    if (!WIFEXITED(status))
        fail_msg("signal %d: %s", WTERMSIG(status), child->seen.data);
    return WEXITSTATUS(status);
}

static void serve(struct child *child, const char *config)
{
    static const char mark[] = "\"operations listener\",\"address\":\"";

    write_config(config);
    spawn(child, (const char *const[]){"demo", "-c", config_path, NULL});
    expect(child, "\"started\"");
    const char *at = strstr(child->seen.data, mark);
    assert_non_null(at);
    at += sizeof(mark) - 1;
    snprintf(child->address, sizeof(child->address), "%.*s", (int)strcspn(at, "\""), at);
}

static int end(struct child *child, int signal)
{
    kill(child->pid, signal);
    int status = finish(child);
    buf_free(&child->seen);
    return status;
}

/* The whole answer; the caller's. */
static char *ask(const struct child *child, const char *method, const char *path, const char *more)
{
    struct err err = {{0}};
    struct buf out = {0};
    char piece[4096];
    int fd;
    ssize_t n;

    if (http_server_connect(child->address, 10000, &fd, &err) != 0)
        fail_msg("%s", err.msg);
    AUTO_FREE char *request =
        mem_printf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, path, more);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    while ((n = recv(fd, piece, sizeof(piece), 0)) > 0)
        buf_add(&out, piece, (size_t)n);
    close(fd);
    return buf_steal(&out);
}

static void expect_answer(const struct child *child, const char *method, const char *path,
                          const char *more, const char *text)
{
    AUTO_FREE char *answer = ask(child, method, path, more);

    if (strstr(answer, text) == NULL)
        fail_msg("%s %s: expected %s in %s", method, path, text, answer);
}

static void test_command_line(void **state)
{
    static const struct {
        const char *args[5];
        int status;
        const char *says;
    } cases[] = {
        {{"demo", "-V"}, 0, "demo 0."},
        {{"demo", "--help"}, 0, "usage: demo [-c FILE]"},
        {{"demo", "--nonsense"}, 2, "usage: demo"},
        {{"demo", "stray"}, 2, "usage: demo"},
        {{"demo", "--document", "config"}, 0, "| `greeting` | text | `hello` |"},
        {{"demo", "--document", "metrics"}, 0, "| `octroi_demo_reloads_total` | counter |"},
        {{"demo", "--document", "common-metrics"}, 0, "octroi_dependency_up"},
        {{"demo", "--document", "logs"}, 0, "| `token` | always written as `[redacted]`"},
        {{"demo", "--document", "problems"}, 0, "## quota-exceeded"},
        {{"demo", "--document", "poems"}, 2, "there is no page poems"},
        {{"demo", "-t", "-c", config_path}, 0, "the configuration of demo is valid"},
        {{"demo", "-t"}, 1, "demo: cannot open /nonexistent/demo.yaml"},
        {{"demo", "-c", "/nonexistent.yaml"}, 1, "cannot open /nonexistent.yaml"},
    };

    (void)state;
    write_config("greeting: hi\n");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct child child = {0};
        spawn(&child, cases[i].args);
        expect(&child, cases[i].says);
        assert_int_equal(finish(&child), cases[i].status);
        buf_free(&child.seen);
    }
}

static void test_wrong_configuration(void **state)
{
    struct child child = {0};

    (void)state;
    write_config("# one\ngreeting: [x]\n");
    spawn(&child, (const char *const[]){"demo", "-c", config_path, NULL});
    AUTO_FREE char *said =
        mem_printf("demo: %s:2: greeting: must be text, not a list", config_path);
    expect(&child, said);
    assert_int_equal(finish(&child), 1);
    buf_free(&child.seen);
}

static void test_failed_start(void **state)
{
    struct child child = {0};

    (void)state;
    write_config("broken: true\n");
    spawn(&child, (const char *const[]){"demo", "-c", config_path, NULL});
    expect(&child, "\"demo stops\"");
    expect(&child, "\"cannot start\",\"error\":\"the thing is broken\"");
    assert_int_equal(finish(&child), 1);
    buf_free(&child.seen);
}

static void test_ops_address_taken(void **state)
{
    struct child first = {0};
    struct child second = {0};

    (void)state;
    serve(&first, "greeting: hi\n");
    AUTO_FREE char *config = mem_printf("ops: %s\n", first.address);
    write_config(config);
    spawn(&second, (const char *const[]){"demo", "-c", config_path, NULL});
    expect(&second, "ops.address: cannot listen on 127.0.0.1:");
    assert_int_equal(finish(&second), 1);
    buf_free(&second.seen);
    assert_int_equal(end(&first, SIGTERM), 0);
}

static void test_ops(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        const char *more;
        const char *has;
    } cases[] = {
        {"GET", "/livez", "\r\n", "HTTP/1.1 200 "},
        {"GET", "/livez", "\r\n", "\"service\":\"demo\""},
        {"GET", "/healthz", "\r\n", "HTTP/1.1 200 "},
        {"GET", "/readyz", "\r\n", "HTTP/1.1 200 "},
        {"GET", "/readyz", "\r\n", "{\"name\":\"thing\",\"ok\":true,\"critical\":true,"},
        {"GET", "/readyz", "\r\n", "{\"name\":\"nicety\",\"ok\":false,\"critical\":false,"},
        {"GET", "/healthz?check=upstream", "\r\n", "\"status\":\"ready\""},
        {"GET", "/metrics", "\r\n", "octroi_demo_reloads_total 0\n"},
        {"GET", "/metrics", "\r\n", "octroi_dependency_up{dependency=\"thing\"} 1\n"},
        {"GET", "/metrics", "\r\n", "\nprocess_cpu_seconds_total 0."},
        {"GET", "/metrics", "\r\n", "octroi_build_info{service=\"demo\",version=\"0."},
        {"GET", "/loglevel", "\r\n", "{\"level\":\"info\"}"},
        {"POST", "/loglevel", "\r\n", "HTTP/1.1 405 "},
        {"PUT", "/loglevel",
         "Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"level\":\"loud\"}",
         "level: must be debug, info, warn or error"},
        {"PUT", "/loglevel",
         "Content-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"level\":\"debug\"}",
         "{\"level\":\"debug\"}"},
        {"GET", "/loglevel", "\r\n", "{\"level\":\"debug\"}"},
        {"GET", "/other", "\r\n", "HTTP/1.1 404 "},
    };
    struct child child = {0};

    (void)state;
    serve(&child, "greeting: hi\n");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_answer(&child, cases[i].method, cases[i].path, cases[i].more, cases[i].has);
    assert_int_equal(end(&child, SIGINT), 0);
}

static void test_metrics_token(void **state)
{
    struct child child = {0};

    (void)state;
    serve(&child, "ops: { metrics_bearer_token: s3cret }\n");
    expect_answer(&child, "GET", "/metrics", "\r\n", "HTTP/1.1 401 ");
    expect_answer(&child, "GET", "/metrics", "\r\n", "WWW-Authenticate: Bearer");
    expect_answer(&child, "GET", "/metrics", "Authorization: Bearer s3cre\r\n\r\n", " 401 ");
    expect_answer(&child, "GET", "/loglevel", "Authorization: Bearer x\r\n\r\n", " 401 ");
    expect_answer(&child, "GET", "/metrics", "Authorization: Bearer s3cret\r\n\r\n", " 200 ");
    expect_answer(&child, "GET", "/readyz", "\r\n", " 200 ");
    assert_int_equal(end(&child, SIGTERM), 0);
}

static void test_readiness_follows_critical_dependencies(void **state)
{
    struct child child = {0};

    (void)state;
    serve(&child, "away: true\n");
    expect_answer(&child, "GET", "/readyz", "\r\n", "HTTP/1.1 503 ");
    expect_answer(&child, "GET", "/readyz", "\r\n", "\"status\":\"unavailable\"");
    expect_answer(&child, "GET", "/readyz", "\r\n", "\"detail\":\"it said no\"");
    expect_answer(&child, "GET", "/livez", "\r\n", "HTTP/1.1 200 ");
    assert_int_equal(end(&child, SIGTERM), 0);
}

static int ask_health(const struct child *child, const char *host)
{
    struct child asker = {0};
    const char *port = strrchr(child->address, ':') + 1;
    AUTO_FREE char *text =
        mem_printf("ops: { address: \"%s%s\" }\n", host, host[0] != '\0' ? port : "");

    write_config(text);
    spawn(&asker, (const char *const[]){"demo", "-c", config_path, "--health", NULL});
    int status = finish(&asker);
    buf_free(&asker.seen);
    return status;
}

static void test_health(void **state)
{
    struct child child = {0};

    (void)state;
    serve(&child, "greeting: hi\n");
    assert_int_equal(ask_health(&child, "127.0.0.1:"), 0);
    assert_int_equal(ask_health(&child, "0.0.0.0:"), 0);
    assert_int_equal(ask_health(&child, ""), 1);
    kill(child.pid, SIGTERM);
    assert_int_equal(finish(&child), 0);
    assert_int_equal(ask_health(&child, "127.0.0.1:"), 1);
    buf_free(&child.seen);

    struct child away = {0};
    serve(&away, "away: true\n");
    assert_int_equal(ask_health(&away, "127.0.0.1:"), 1);
    assert_int_equal(end(&away, SIGTERM), 0);
}

static void test_reload(void **state)
{
    struct child child = {0};

    (void)state;
    serve(&child, "greeting: hi\n");
    write_config("greeting: good day\nlog: { level: debug }\n");
    kill(child.pid, SIGHUP);
    expect(&child, "\"good day\"");
    expect(&child, "\"configuration reloaded\"");
    expect_answer(&child, "GET", "/loglevel", "\r\n", "debug");
    write_config("greeting: bad\nbroken: true\n");
    kill(child.pid, SIGHUP);
    expect(&child, "broken is not for reload");
    write_config("greting: typo\n");
    kill(child.pid, SIGHUP);
    expect(&child, "greting: there is no such key");
    expect_answer(&child, "GET", "/metrics", "\r\n", "octroi_demo_reloads_total 1\n");
    assert_int_equal(end(&child, SIGTERM), 0);
}

static void test_drain(void **state)
{
    struct child child = {0};

    (void)state;
    serve(&child, "drain_delay: 1h\nstubborn: true\nshutdown: 1h\n");
    kill(child.pid, SIGTERM);
    expect(&child, "\"draining\"");
    expect_answer(&child, "GET", "/readyz", "\r\n", "\"status\":\"draining\"");
    expect_answer(&child, "GET", "/livez", "\r\n", " 200 ");
    kill(child.pid, SIGTERM); /* the second asks for the end at once */
    expect(&child, "\"demo drains\"");
    expect(&child, "\"demo stops\"");
    expect(&child, "\"stopped\"");
    assert_int_equal(finish(&child), 0);
    buf_free(&child.seen);
}

static void test_drain_that_takes_too_long(void **state)
{
    struct child child = {0};

    (void)state;
    serve(&child, "stubborn: true\nshutdown: 60ms\n");
    kill(child.pid, SIGTERM);
    expect(&child, "the drain took too long");
    assert_int_equal(finish(&child), 0);
    buf_free(&child.seen);
}

static void test_signals_that_mean_nothing(void **state)
{
    struct child child = {0};

    (void)state;
    serve(&child, "greeting: hi\n");
    kill(child.pid, SIGPIPE);
    kill(child.pid, SIGUSR1);
    expect(&child, "\"signal ignored\"");
    expect_answer(&child, "GET", "/livez", "\r\n", " 200 ");
    assert_int_equal(end(&child, SIGQUIT), 0);
}

static void test_log_variable(void **state)
{
    struct child child = {0};

    (void)state;
    setenv("OCTROI_LOG", "loud", 1);
    write_config("greeting: hi\n");
    spawn(&child, (const char *const[]){"demo", "-c", config_path, NULL});
    expect(&child, "OCTROI_LOG must be debug, info, warn or error");
    assert_int_equal(finish(&child), 1);
    buf_free(&child.seen);
    child = (struct child){0};
    setenv("OCTROI_LOG", "debug", 1);
    serve(&child, "log: { level: error }\n");
    expect_answer(&child, "GET", "/loglevel", "\r\n", "debug");
    assert_int_equal(end(&child, SIGTERM), 0);
    unsetenv("OCTROI_LOG");
}

static void receive(int fd, char *out, size_t size)
{
    ssize_t n = recv(fd, out, size - 1, 0);

    assert_true(n > 0);
    out[n] = '\0';
}

/* systemd's protocol, with a socket of our own in systemd's place. */
static void test_notify(void **state)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct child child = {0};
    char text[256];

    (void)state;
    snprintf(name.sun_path, sizeof(name.sun_path), "%s.notify", config_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    setenv("NOTIFY_SOCKET", name.sun_path, 1);
    serve(&child, "greeting: hi\n");
    receive(fd, text, sizeof(text));
    assert_string_equal(text, "READY=1");
    kill(child.pid, SIGHUP);
    receive(fd, text, sizeof(text));
    assert_int_equal(strncmp(text, "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
    receive(fd, text, sizeof(text));
    assert_string_equal(text, "READY=1");
    assert_int_equal(end(&child, SIGTERM), 0);
    receive(fd, text, sizeof(text));
    assert_string_equal(text, "STOPPING=1");
    unsetenv("NOTIFY_SOCKET");
    close(fd);
    unlink(name.sun_path);
}

static int make_path(void **state)
{
    (void)state;
    snprintf(config_path, sizeof(config_path), "/tmp/octroi-test-XXXXXX");
    close(mkstemp(config_path));
    unsetenv("OCTROI_LOG");
    unsetenv("NOTIFY_SOCKET");
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(config_path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_wrong_configuration),
        cmocka_unit_test(test_failed_start),
        cmocka_unit_test(test_ops_address_taken),
        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_metrics_token),
        cmocka_unit_test(test_readiness_follows_critical_dependencies),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_that_takes_too_long),
        cmocka_unit_test(test_signals_that_mean_nothing),
        cmocka_unit_test(test_log_variable),
        cmocka_unit_test(test_notify),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
