/* Normal form of paths and hosts: what is matched is what is forwarded. */
#include "libcommon/mem.h"
#include "services/proxy/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void paths_have_one_form(void **state)
{
    static const struct {
        const char *in, *out; /* NULL: refused */
    } cases[] = {
        {"/", "/"},
        {"/a/b", "/a/b"},
        {"/a/b/", "/a/b/"},
        {"//a", "/a"},
        {"/a//b///c", "/a/b/c"},
        {"/./a", "/a"},
        {"/..;/a", NULL},
        {"/b/..;x=y/a", NULL},
        {"/b/.;/a", NULL},
        {"/b/%2e%2e%3b/a", NULL},
        {"/%c0%ae%c0%ae/a", NULL},
        {"/a%c0%afb", NULL},
        {"/a%c1%9cb", NULL},
        {"/a%e0%80%afb", NULL},
        {"/%E0%80%ae%e0%80%ae/a", NULL},
        {"/%e0%81%9c", NULL},
        {"/a%f0%80%80%af", NULL},
        {"/a%f0%80%81%a1", NULL},
        {"/a%f8%80%80%80%af", NULL},
        {"/a%fc%80%80%80%80%ae", NULL},
        {"/a%fe%80%80%80%80%80%ae", NULL},
        {"/%e0%e0%80%af", NULL},
        /* Of no ASCII, cut off, or no UTF-8 at all: that is between client and origin. */
        {"/%e2%82%ac", "/%E2%82%AC"},
        {"/%e0%a4%b9", "/%E0%A4%B9"},
        {"/%e0%9f%bf", "/%E0%9F%BF"},
        {"/%f0%9f%98%80", "/%F0%9F%98%80"},
        {"/%ed%a0%80", "/%ED%A0%80"},
        {"/%f4%90%80%80", "/%F4%90%80%80"},
        {"/%e0%80", "/%E0%80"},
        {"/%e0%80%2", NULL},
        {"/%e0%80/%af", "/%E0%80/%AF"},
        {"/%e0%80%61", "/%E0%80a"},
        {"/%f0%80%af%80", "/%F0%80%AF%80"},
        {"/%e0", "/%E0"},
        {"/%fc%80%80%80%80", "/%FC%80%80%80%80"},
        {"/a..;b", "/a..;b"},
        {"/...;b", "/...;b"},
        {"/..a;b", "/..a;b"},
        {"/a;b/c", "/a;b/c"},
        {"/a/.", "/a/"},
        {"/a/./", "/a/"},
        {"/a/..", "/"},
        {"/a/b/..", "/a/"},
        {"/a/../b", "/b"},
        {"/../../a", "/a"},
        {"/x/../v1/a", "/v1/a"},
        {"/%76%31/a", "/v1/a"},
        {"/%2e%2E/a", "/a"},
        {"/a%2e%2e", "/a.."},
        {"/...", "/..."},
        {"/.a", "/.a"},
        {"/..a/", "/..a/"},
        {"/%e4", "/%E4"},
        {"/%25%32%66", "/%252f"},
        {"/a;b", "/a;b"},
        {"/a%2fb", NULL},
        {"/a%2Fb", NULL},
        {"/a%5cb", NULL},
        {"/a\\b", NULL},
        {"/%00", NULL},
        {"/%", NULL},
        {"/%4", NULL},
        {"/%g1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        h2o_iovec_t in = h2o_iovec_init(cases[i].in, strlen(cases[i].in));
        AUTO_FREE char *out = mem_alloc(in.len);
        size_t len = 0;
        const char *why = path_normalize(in, out, &len);
        if (!cases[i].out) {
            assert_non_null(why);
            continue;
        }
        assert_null(why);
        assert_int_equal(len, strlen(cases[i].out));
        assert_memory_equal(out, cases[i].out, len);
        if (path_is_normal(in))
            assert_string_equal(cases[i].in, cases[i].out);
        /* Normal once is normal for ever. */
        AUTO_FREE char *again = mem_alloc(len);
        size_t again_len = 0;
        assert_null(path_normalize(h2o_iovec_init(out, len), again, &again_len));
        assert_int_equal(again_len, len);
        assert_memory_equal(again, out, len);
    }
}

static void hosts_have_one_form(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"Example.COM", "example.com"},
        {"example.com.", "example.com"},
        {"example.com:80", "example.com"},
        {"example.com.:80", "example.com"},
        {"a_b-c.d", "a_b-c.d"},
        {"127.0.0.1:1", "127.0.0.1"},
        {"[::1]", "[::1]"},
        {"[::1]:80", "[::1]"},
        {"[2001:DB8::1]", "[2001:db8::1]"},
        {"[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]"},
        {"[:::]", NULL},
        {"[::::]", NULL},
        {"[abcd]", NULL},
        {"[1.2.3.4]", NULL},
        {"[::1%25lo]", NULL},
        {"example.com:", "example.com"},
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {"a..b", NULL},
        {".a", NULL},
        {"a/b", NULL},
        {"a b", NULL},
        {"a@b", NULL},
        {"a:b", NULL},
        {"a:99999", NULL},
        {"a:1:2", NULL},
        {"[::1", NULL},
        {"[::1]x", NULL},
        {"[]", NULL},
        {"[g::]", NULL},
        {":80", NULL},
        {"a%41", NULL},
        {"a,b", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        h2o_iovec_t in = h2o_iovec_init(cases[i].in, strlen(cases[i].in));
        AUTO_FREE char *out = mem_alloc(in.len + 1);
        size_t len = 0;
        int result = host_normalize(in, out, &len);
        assert_int_equal(result, cases[i].out ? 0 : -1);
        if (result)
            continue;
        assert_int_equal(len, strlen(cases[i].out));
        assert_memory_equal(out, cases[i].out, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(paths_have_one_form),
                                       cmocka_unit_test(hosts_have_one_form)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
