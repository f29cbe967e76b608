/* When memory counts as short, and which of several limits it is measured against. */
#include "services/proxy/memory_guard.h"

#include "libcommon/mem.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LOOK_NS 20000000LL

static void levels_and_the_way_back(void **state)
{
    static const struct {
        enum memory_level now;
        int64_t used;
        enum memory_level then;
    } cases[] = {
        {MEMORY_FINE, 0, MEMORY_FINE},     {MEMORY_FINE, 899, MEMORY_FINE},
        {MEMORY_FINE, 900, MEMORY_SHORT},  {MEMORY_FINE, 949, MEMORY_SHORT},
        {MEMORY_FINE, 950, MEMORY_SPENT},  {MEMORY_FINE, 2000, MEMORY_SPENT},
        {MEMORY_SHORT, 899, MEMORY_SHORT}, {MEMORY_SHORT, 850, MEMORY_SHORT},
        {MEMORY_SHORT, 849, MEMORY_FINE},  {MEMORY_SHORT, 950, MEMORY_SPENT},
        {MEMORY_SPENT, 949, MEMORY_SPENT}, {MEMORY_SPENT, 920, MEMORY_SPENT},
        {MEMORY_SPENT, 919, MEMORY_SHORT}, {MEMORY_SPENT, 849, MEMORY_FINE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(memory_guard_judge(cases[i].now, cases[i].used, 1000), cases[i].then);
    assert_int_equal(memory_guard_judge(MEMORY_SPENT, 1000, 0), MEMORY_FINE);
    assert_int_equal(memory_guard_judge(MEMORY_FINE, INT64_MAX, INT64_MAX), MEMORY_SPENT);
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static void make_dir(const char *dir, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static struct memory_state look(struct memory_guard *guard, int64_t now_ns)
{
    memory_guard_look(guard, now_ns);
    return memory_guard_state(guard);
}

/* Somebody's cgroups: limits at several heights, in either version. */
static void the_tightest_cgroup_counts(void **state)
{
    static const struct {
        const char *file, *text;
    } files[] = {
        {"memory.max", "max\n"},
        {"a/memory.max", "1000\n"},
        {"a/memory.current", "990\n"},
        {"a/memory.stat",
         "anon 1\ninactive_anon 7\ninactive_file 400\nactive_file 50\nslab_reclaimable 40\n"},
        {"a/b/memory.max", "2000\n"},
        {"a/b/memory.current", "1\n"},
        {"memory/memory.limit_in_bytes", "9223372036854771712\n"},
    };

    char dir[] = "/tmp/octroi-memory-XXXXXX", command[64];
    (void)state;
    assert_non_null(mkdtemp(dir));
    make_dir(dir, "a");
    make_dir(dir, "a/b");
    make_dir(dir, "memory");
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        put(dir, files[i].file, files[i].text);
    struct memory_guard *guard = memory_guard_new(dir, "/a/b");
    struct memory_state seen = look(guard, 1);
    assert_int_equal(seen.used, 500);
    assert_int_equal(seen.limit, 1000);
    assert_int_equal(seen.level, MEMORY_FINE);
    put(dir, "a/memory.current", "1395\n");
    assert_int_equal(look(guard, LOOK_NS).level, MEMORY_FINE); /* too soon */
    assert_int_equal(look(guard, LOOK_NS + 1).level, MEMORY_SHORT);
    put(dir, "a/memory.current", "1480\n");
    assert_int_equal(look(guard, 2 * LOOK_NS + 1).level, MEMORY_SPENT);
    memory_guard_trim(guard);
    put(dir, "a/memory.current", "100\n"); /* less than what is inactive: changed in between */
    assert_int_equal(look(guard, 3 * LOOK_NS + 1).level, MEMORY_FINE);
    memory_guard_trim(guard);
    memory_guard_free(&guard);
    assert_null(guard);

    put(dir, "memory/memory.limit_in_bytes", "400\n");
    put(dir, "memory/memory.usage_in_bytes", "1000\n");
    put(dir, "memory/memory.stat",
        "cache 1\ninactive_file 999\nactive_file 999\ntotal_inactive_file 600\ntotal_active_file "
        "100\n");
    guard = memory_guard_new(dir, "/a/b");
    seen = look(guard, 1);
    assert_int_equal(seen.used, 300);
    assert_int_equal(seen.limit, 400);
    memory_guard_free(&guard);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void the_process_itself_is_measured(void **state)
{
    struct memory_guard *guard = memory_guard_new("/nowhere", "/");
    (void)state;
    struct memory_state seen = look(guard, 1);
    assert_true(seen.used > 0);
    assert_true(seen.limit > seen.used);
    assert_int_equal(seen.level, MEMORY_FINE);
    memory_guard_limit(guard, seen.used);
    assert_int_equal(look(guard, LOOK_NS + 1).level, MEMORY_SPENT);
    memory_guard_limit(guard, 0);
    assert_int_equal(look(guard, 2 * LOOK_NS + 1).level, MEMORY_FINE);
    memory_guard_free(&guard);
    guard = memory_guard_of_process();
    assert_true(look(guard, 1).limit > 0);
    memory_guard_free(&guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_and_the_way_back),
        cmocka_unit_test(the_tightest_cgroup_counts),
        cmocka_unit_test(the_process_itself_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
