/* Pipes of a thread: bounded, given back, and never the last word on why nothing was moved. */
#include "services/proxy/splice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
    int near, far;
};

static struct pair tcp_pair(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    struct pair pair;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    pair.far = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(pair.far, (struct sockaddr *)&address, len), 0);
    pair.near = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(pair.near >= 0);
    close(listener);
    return pair;
}

static void close_pair(struct pair pair)
{
    close(pair.near);
    close(pair.far);
}

static void send_all(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
}

static unsigned open_files(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void no_more_is_moved_than_asked_for(void **state)
{
    struct pair from = tcp_pair(), to = tcp_pair();
    struct splice_pipe pipe = {.held = 0};
    char rest[16];
    (void)state;
    send_all(from.far, "bodynext");
    assert_int_equal(splice_read(&pipe, from.near, 4), 4);
    assert_int_equal(pipe.held, 4);
    assert_int_equal(splice_write(&pipe, to.near), 0);
    assert_int_equal(pipe.held, 0);
    assert_int_equal(pipe.in, 0);
    assert_int_equal(recv(to.far, rest, sizeof(rest), 0), 4);
    assert_memory_equal(rest, "body", 4);
    assert_int_equal(recv(from.near, rest, sizeof(rest), 0), 4);
    assert_memory_equal(rest, "next", 4);
    close_pair(from);
    close_pair(to);
}

static void nothing_moved_keeps_no_pipe(void **state)
{
    struct pair from = tcp_pair();
    struct splice_pipe pipe = {.held = 0};
    char byte;
    (void)state;
    assert_int_equal(splice_read(&pipe, from.near, 4), 0);
    assert_int_equal(pipe.in, 0);
    assert_int_equal(send(from.far, "!", 1, MSG_OOB), 1);
    send_all(from.far, "x");
    assert_int_equal(splice_read(&pipe, from.near, 4), 0); /* it stops at urgent data */
    assert_int_equal(recv(from.near, &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    shutdown(from.far, SHUT_WR);
    assert_int_equal(splice_read(&pipe, from.near, 4), 0);
    assert_int_equal(pipe.in, 0);
    close_pair(from);
}

static void pipes_are_bounded_and_none_is_lost(void **state)
{
    enum { MANY = 80, LENT = 64 };

    struct splice_pipe pipes[MANY] = {{.held = 0}};
    struct pair from[MANY];
    unsigned lent = 0;
    (void)state;
    splice_thread_end();
    for (int i = 0; i < MANY; i++)
        from[i] = tcp_pair();
    unsigned before = open_files();
    for (int i = 0; i < MANY; i++) {
        send_all(from[i].far, "x");
        lent += splice_read(&pipes[i], from[i].near, 1) == 1;
    }
    assert_int_equal(lent, LENT);
    splice_drop(&pipes[0]);
    assert_int_equal(splice_read(&pipes[MANY - 1], from[MANY - 1].near, 1), 1);
    for (int i = 0; i < MANY; i++)
        if (i % 2)
            splice_drop(&pipes[i]);
        else if (pipes[i].held)
            assert_int_equal(splice_write(&pipes[i], from[i].near), 0);
    splice_thread_end();
    assert_int_equal(open_files(), before);
    for (int i = 0; i < MANY; i++)
        close_pair(from[i]);
}

static void without_a_descriptor_nothing_is_moved(void **state)
{
    struct pair from = tcp_pair();
    struct splice_pipe pipe = {.held = 0};
    struct rlimit old, none;
    char byte;
    (void)state;
    splice_thread_end();
    send_all(from.far, "x");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    size_t moved = splice_read(&pipe, from.near, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(moved, 0);
    assert_int_equal(recv(from.near, &byte, 1, 0), 1);
    close_pair(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_more_is_moved_than_asked_for),
                                       cmocka_unit_test(nothing_moved_keeps_no_pipe),
                                       cmocka_unit_test(pipes_are_bounded_and_none_is_lost),
                                       cmocka_unit_test(without_a_descriptor_nothing_is_moved)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
