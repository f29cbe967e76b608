/* The last step of a line: files that are moved away, full disks, pipes that nobody reads. */
#include "libcommon/log_file.h"

#include "libcommon/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/octroi-log-file-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void expect_text(const char *path, const char *text)
{
    char got[256] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(read(fd, got, sizeof(got) - 1) >= 0);
    close(fd);
    assert_string_equal(got, text);
}

static struct log_file *open_file(const char *path)
{
    struct log_file *file = NULL;
    struct err err = {{0}};

    if (log_file_open(path, &file, &err) != 0)
        fail_msg("%s", err.msg);
    return file;
}

static void test_moved_away(void **state)
{
    AUTO_FREE char *path = mem_printf("%s/log", dir);
    AUTO_FREE char *moved = mem_printf("%s/log.1", dir);
    struct log_file *file = open_file(path);

    (void)state;
    log_file_add(file, "one\n", 4);
    assert_int_equal(log_file_flush(file), 0);
    assert_int_equal(rename(path, moved), 0);
    log_file_add(file, "two\n", 4);
    assert_int_equal(log_file_flush(file), 0);
    log_file_close(&file);
    file = open_file(path);
    log_file_add(file, "three\n", 6);
    assert_int_equal(log_file_flush(file), 0);
    log_file_close(&file);
    expect_text(moved, "one\ntwo\n");
    expect_text(path, "three\n");
    unlink(path);
    unlink(moved);
}

static void test_full_disk(void **state)
{
    struct log_file *file = open_file("/dev/full");

    (void)state;
    for (int i = 0; i < 3; i++)
        log_file_add(file, "line\n", 5);
    assert_int_equal(log_file_flush(file), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(log_file_lost(file), 3);
    assert_int_equal(log_file_flush(file), 0);
    log_file_close(&file);
}

/* The disk takes half a line: the next that fits begins a line of its own. */
static void test_torn_line(void **state)
{
    AUTO_FREE char *path = mem_printf("%s/log", dir);
    struct rlimit old, small = {.rlim_cur = 6, .rlim_max = RLIM_INFINITY};
    struct log_file *file = open_file(path);

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    log_file_add(file, "one\n", 4);
    log_file_add(file, "two\n", 4);
    assert_int_equal(log_file_flush(file), -1);
    log_file_add(file, "three\n", 6);
    assert_int_equal(log_file_flush(file), -1);
    setrlimit(RLIMIT_FSIZE, &old);
    log_file_add(file, "four\n", 5);
    assert_int_equal(log_file_flush(file), 0);
    assert_int_equal(log_file_lost(file), 2);
    log_file_close(&file);
    expect_text(path, "one\ntw\nfour\n");
    unlink(path);
}

static void test_pipe_without_reader(void **state)
{
    AUTO_FREE char *path = mem_printf("%s/pipe", dir);
    struct log_file *file = NULL;
    struct err err = {{0}};

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(log_file_open(path, &file, &err), -1);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    file = open_file(path);
    close(reader);
    log_file_add(file, "line\n", 5);
    assert_int_equal(log_file_flush(file), -1);
    assert_int_equal(log_file_lost(file), 1);
    log_file_close(&file);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moved_away),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_torn_line),
        cmocka_unit_test(test_pipe_without_reader),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
