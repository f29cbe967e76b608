/* A key's page is kept out of swap and core dumps, alone, and goes on without where the limit
 * forbids it. mlock is this file's own: sanitizers let the real one do nothing, and root has no
 * limit. */
#include "vectors.h"

#include "libcommon/eth/sign.h"
#include "libcommon/log.h"
#include "libcommon/secret_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool forbidden;
static const void *locked;
static size_t locked_len;

int mlock(const void *addr, size_t len)
{
    locked = addr;
    locked_len = len;
    errno = ENOMEM;
    return forbidden ? -1 : 0;
}

/* Whether the kernel leaves a page out of core dumps: "dd" among its flags. */
static bool not_dumped(const void *page)
{
    char line[512];
    unsigned long from, to;
    bool here = false, found = false;
    FILE *maps = fopen("/proc/self/smaps", "re");
    assert_non_null(maps);
    while (!found && fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)page >= from && (uintptr_t)page < to;
        else
            found = here && strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " dd") != NULL;
    }
    fclose(maps);
    return found;
}

static void locks_a_page_of_its_own(void **state)
{
    (void)state;
    struct err err = {{0}};
    char *secret = secret_memory_new(40);
    assert_int_equal((uintptr_t)secret % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
    assert_false(not_dumped(secret));
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    assert_int_equal(secret_memory_lock(secret, 40, &err), 0);
    assert_ptr_equal(locked, secret);
    assert_int_equal(locked_len, 40);
    assert_true(not_dumped(secret));
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    secret_memory_free(secret, 40);
    secret_memory_free(NULL, 40);
}

/* What the limit does not concern is had all the same. */
static void says_where_the_limit_forbids_it(void **state)
{
    (void)state;
    struct err err = {{0}};
    char *secret = secret_memory_new(40);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    forbidden = true;
    assert_int_equal(secret_memory_lock(secret, 40, &err), -1);
    assert_contains(err.msg, "RLIMIT_MEMLOCK");
    assert_true(not_dumped(secret));
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    forbidden = false;
    secret_memory_free(secret, 40);
}

static void a_guarded_key_signs_whatever_the_limit(void **state)
{
    (void)state;
    struct err err = {{0}};
    struct sign_key *key = NULL;
    const uint8_t secret[32] = {[31] = 7};
    struct word digest = {{1}};
    uint8_t signature[65];
    log_init("test", LOG_LEVEL_ERROR);
    for (int i = 0; i < 2; i++) {
        forbidden = i == 1;
        assert_int_equal(sign_key_from_secret(secret, &key, &err), 0);
        sign_key_guard(key, "a key");
        assert_ptr_equal(locked, key);
        assert_true(not_dumped(key));
        assert_int_equal(sign_digest(key, &digest, signature, &err), 0);
        sign_key_free(&key);
        assert_null(key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locks_a_page_of_its_own),
        cmocka_unit_test(says_where_the_limit_forbids_it),
        cmocka_unit_test(a_guarded_key_signs_whatever_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
