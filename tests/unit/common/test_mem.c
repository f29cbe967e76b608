/* Allocation: what it returns, that it never returns NULL, and that cleanup and stealing agree. */
#include "libcommon/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_sizes(void **state)
{
    static const unsigned char zeros[64];
    AUTO_FREE void *none = mem_alloc(0);
    AUTO_FREE unsigned char *clean = mem_zalloc(64);
    AUTO_FREE unsigned char *array = mem_array(8, 8);
    AUTO_FREE void *empty = mem_array(0, 8);

    (void)state;
    assert_non_null(none);
    assert_non_null(empty);
    assert_memory_equal(clean, zeros, 64);
    assert_memory_equal(array, zeros, 64);
    array = mem_resize(array, 1000, 4);
    assert_memory_equal(array, zeros, 64);
}

static void test_strings(void **state)
{
    AUTO_FREE char *copy = mem_strdup("abc");
    AUTO_FREE char *part = mem_strndup("abcdef", 2);
    AUTO_FREE char *whole = mem_strndup("ab", 10);
    AUTO_FREE char *text = mem_printf("%d-%s", 7, "x");

    (void)state;
    assert_string_equal(copy, "abc");
    assert_string_equal(part, "ab");
    assert_string_equal(whole, "ab");
    assert_string_equal(text, "7-x");
}

static char *make(void)
{
    AUTO_FREE char *text = mem_strdup("kept");

    return MEM_STEAL(text);
}

static void test_steal(void **state)
{
    AUTO_FREE char *text = make();

    (void)state;
    assert_string_equal(text, "kept");
}

static void test_wipe(void **state)
{
    char secret[8] = "secret!";

    (void)state;
    mem_wipe(secret, sizeof(secret));
    mem_wipe(NULL, 0);
    for (size_t i = 0; i < sizeof(secret); i++)
        assert_int_equal(secret[i], 0);
}

static void resize_too_much(void)
{
    free(mem_resize(NULL, SIZE_MAX / 2, 4));
}

static void resize_to_half(void)
{
    free(mem_resize(NULL, SIZE_MAX / 2 + 2, 1));
}

/* What is too large to exist aborts; it does not come back small. */
static void test_overflow_aborts(void **state)
{
    static void (*const cases[])(void) = {resize_too_much, resize_to_half};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            const struct rlimit none = {0};
            setrlimit(RLIMIT_CORE, &none);
            signal(SIGABRT, SIG_DFL);
            close(STDERR_FILENO);
            cases[i]();
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),           cmocka_unit_test(test_strings),
        cmocka_unit_test(test_steal),           cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_overflow_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
