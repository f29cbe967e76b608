/* Modes of a secret's file, and what of its name may be told. */
#include "vectors.h"

#include "libcommon/mem.h"
#include "libcommon/secret_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void modes(void **state)
{
    static const struct {
        mode_t mode;
        bool exposed;
    } cases[] = {{0600, false}, {0400, false}, {0640, false}, {0440, false}, {0604, true},
                 {0602, true},  {0620, true},  {0644, true},  {0444, true},  {0666, true}};

    char path[] = "/tmp/octroi-secret-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(fchmod(fd, cases[i].mode), 0);
        if (secret_file_exposed(path) != cases[i].exposed)
            fail_msg("mode %o", (unsigned)cases[i].mode);
    }
    close(fd);
    unlink(path);
    assert_false(secret_file_exposed(path));
    assert_false(secret_file_exposed(""));
}

static void regression_a_secret_in_place_of_its_path_is_not_repeated(void **state)
{
    (void)state;
    assert_string_equal(secret_file_name("/run/octroi/key"), "/run/octroi/key");
    assert_string_equal(secret_file_name("./key"), "./key");
    assert_null(strstr(secret_file_name("0xTOPSECRET"), "SECRET"));
    assert_null(strstr(secret_file_name("a TOPSECRET"), "SECRET"));
    assert_null(strstr(secret_file_name(""), "SECRET"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes),
        cmocka_unit_test(regression_a_secret_in_place_of_its_path_is_not_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
