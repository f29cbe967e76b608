/* What outlives configurations: backends are found again by identity, keep what was learnt of them,
 * and give their id back when the last configuration that names them is gone. */
#include "libcommon/buf.h"
#include "libcommon/mem.h"
#include "services/proxy/pool.h"
#include "services/proxy/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct loaded {
    struct config *config;
    struct pool_set *pools;
};

static struct loaded load(struct registry *registry, const char *pools)
{
    struct loaded loaded = {NULL, NULL};
    struct err err;
    AUTO_BUF struct buf text = {.max = 0};
    buf_printf(&text,
               "listeners: [\"127.0.0.1:1\"]\nroutes: [{ path: /, respond: { status: 204 } "
               "}]\npools:\n%s\n",
               pools);
    if (config_parse("test", text.data, text.len, &proxy_config_schema, &loaded.config, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(pool_set_new(config_root(loaded.config), registry, &loaded.pools, &err), 0);
    return loaded;
}

static void unload(struct loaded *loaded)
{
    pool_set_free(&loaded->pools);
    config_free(&loaded->config);
}

static struct backend *backend(const struct loaded *loaded, const char *pool, size_t at)
{
    return pool_set_find(loaded->pools, pool)->members[at].backend;
}

static void same_identity_is_the_same_backend(void **state)
{
    struct registry *registry = registry_new();
    (void)state;
    struct loaded one = load(registry, "  a: { backends: [\"http://127.0.0.1:1\"] }");
    struct loaded two = load(registry, "  b: { backends: [\"http://127.0.0.1:1\"] }\n"
                                       "  a: { backends: [\"http://127.0.0.1:2\", { url: "
                                       "\"http://127.0.0.1:1\", weight: 7 }] }");
    assert_ptr_equal(backend(&one, "a", 0), backend(&two, "a", 1));
    assert_ptr_not_equal(backend(&one, "a", 0), backend(&two, "b", 0));
    assert_ptr_equal(pool_set_find(one.pools, "a")->state, pool_set_find(two.pools, "a")->state);
    assert_int_equal(pool_set_find(one.pools, "a")->members[0].weight, 1);
    assert_int_equal(pool_set_find(two.pools, "a")->members[1].weight, 7);
    unload(&one);
    assert_string_equal(backend(&two, "a", 1)->authority.base, "127.0.0.1:1");
    unload(&two);
    registry_free(&registry);
}

static void equal_ones_in_a_pool_are_two(void **state)
{
    static const char text[] =
        "  a: { backends: [\"http://127.0.0.1:1\", \"http://127.0.0.1:1\"] }";
    struct registry *registry = registry_new();
    (void)state;
    struct loaded one = load(registry, text), two = load(registry, text);
    assert_ptr_not_equal(backend(&one, "a", 0), backend(&one, "a", 1));
    assert_ptr_equal(backend(&one, "a", 0), backend(&two, "a", 0));
    assert_ptr_equal(backend(&one, "a", 1), backend(&two, "a", 1));
    unload(&one);
    unload(&two);
    registry_free(&registry);
}

static void an_id_is_taken_again_once_it_is_gone(void **state)
{
    struct registry *registry = registry_new();
    (void)state;
    struct loaded one = load(registry, "  a: { backends: [\"http://127.0.0.1:1\"] }");
    struct loaded two = load(registry, "  a: { backends: [\"http://127.0.0.1:2\"] }");
    assert_int_equal(backend(&one, "a", 0)->id, 0);
    assert_int_equal(backend(&two, "a", 0)->id, 1);
    assert_int_equal(two.pools->backend_limit, 2);
    unload(&one);
    struct loaded three = load(registry, "  a: { backends: [\"http://127.0.0.1:3\"] }");
    assert_int_equal(backend(&three, "a", 0)->id, 0);
    unload(&two);
    unload(&three);
    registry_free(&registry);
}

static void ids_stay_small_over_many_reloads(void **state)
{
    struct registry *registry = registry_new();
    struct loaded last = {NULL, NULL};
    (void)state;
    for (unsigned i = 1; i <= 1000; i++) {
        AUTO_FREE char *text = mem_printf(
            "  p%u: { backends: [\"http://127.0.0.1:%u\", \"http://127.0.0.1:9\"] }", i % 7, i);
        struct loaded next = load(registry, text);
        unload(&last);
        last = next;
        assert_true(last.pools->backend_limit <= 4);
        assert_true(last.pools->pools[0].state->id < 2);
    }
    unload(&last);
    registry_free(&registry);
}

/* A configuration that is refused half-way leaves nothing behind. */
static void a_refused_one_leaves_nothing(void **state)
{
    struct registry *registry = registry_new();
    struct backend_config bad = {.url = "ftp://x"};
    struct backend *backend;
    struct err err;
    (void)state;
    struct pool_state *pool = registry_pool(registry, "a");
    assert_int_equal(registry_backend(registry, pool, &bad, 0, &backend, &err), -1);
    registry_release_pool(registry, pool);
    struct backend_list list = registry_list(registry);
    assert_int_equal(list.count, 0);
    registry_drop_list(registry, &list);
    registry_free(&registry);
}

static void a_list_holds_what_it_names(void **state)
{
    struct registry *registry = registry_new();
    (void)state;
    struct loaded one = load(registry, "  a: { backends: [\"http://127.0.0.1:1\"] }");
    struct backend_list list = registry_list(registry);
    unload(&one);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0]->authority.base, "127.0.0.1:1");
    assert_string_equal(list.items[0]->pool->name, "a");
    registry_drop_list(registry, &list);
    list = registry_list(registry);
    assert_int_equal(list.count, 0);
    registry_drop_list(registry, &list);
    registry_free(&registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_identity_is_the_same_backend),
        cmocka_unit_test(equal_ones_in_a_pool_are_two),
        cmocka_unit_test(an_id_is_taken_again_once_it_is_gone),
        cmocka_unit_test(ids_stay_small_over_many_reloads),
        cmocka_unit_test(a_refused_one_leaves_nothing),
        cmocka_unit_test(a_list_holds_what_it_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
