/* Addresses of a PostgreSQL server: what is taken, and that a refusal never repeats a secret. */
#include "vectors.h"

#include "libcommon/pg.h"

#include <string.h>

static void takes(void **state)
{
    static const char *const cases[] = {
        "postgresql://octroi_payd@127.0.0.1:5432/octroi",
        "postgres://u:p%40%2F%25@h/octroi?sslmode=verify-full",
        "postgresql://u:a:b?c#d@h:5432/octroi",
        "postgresql://u:p@h1:5432,h2:5433/octroi?target_session_attrs=primary",
        "postgresql:///octroi?host=/run/postgresql",
        "postgresql://[::1]:5432/octroi",
        "host=127.0.0.1 port=5432 user=u password='a@b/c' dbname=octroi",
        "",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {{0}};
        if (pg_conninfo_check(cases[i], &err) != 0)
            fail_msg("%s: %s", cases[i], err.msg);
    }
}

/* libpq says such things as: invalid integer value "the password" for connection option "port". */
static void regression_no_piece_of_a_password_is_repeated(void **state)
{
    static const char *const cases[] = {
        "postgresql://octroi:TOPSECRET/x@127.0.0.1:1/db",
        "postgresql://octroi:12/TOPSECRET@127.0.0.1:1/db",
        "postgresql://octroi:a@TOPSECRET@127.0.0.1:1/db",
        "postgresql://octroi:TOPSECRET%zz@127.0.0.1:1/db",
        "postgresql://octroi:TOPSECRET%@127.0.0.1:1/db",
        "postgresql://octroi:pw@127.0.0.1:1/db?TOPSECRET",
        "postgresql://octroi:pw@127.0.0.1:1/db?TOPSECRET=1",
        "postgre://octroi:TOPSECRET@127.0.0.1:1/db",
        "host=127.0.0.1 password=a TOPSECRET",
        "host=127.0.0.1 password='a TOPSECRET",
        "host=127.0.0.1 password=a TOPSECRET=b",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {{0}};
        if (pg_conninfo_check(cases[i], &err) != -1)
            fail_msg("%s was taken", cases[i]);
        if (strstr(err.msg, "SECRET") != NULL || err.msg[0] == '\0')
            fail_msg("%s: %s", cases[i], err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes),
        cmocka_unit_test(regression_no_piece_of_a_password_is_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
