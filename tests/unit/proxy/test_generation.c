/* Who still uses a generation is counted by each worker for itself; and what a watched file's
 * change looks like. */
#include "services/proxy/file_watch.h"
#include "services/proxy/generation.h"
#include "services/proxy/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "listeners: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\npools: { p: { backends: "
                           "[\"http://127.0.0.1:1\"] } }\nroutes: [{ path: /, pool: p }]\n";

static struct generation *load(struct registry *registry)
{
    struct config *config;
    struct generation *generation;
    struct err err;
    assert_int_equal(config_parse("test", text, strlen(text), &proxy_config_schema, &config, &err),
                     0);
    assert_int_equal(generation_new(config_root(config), registry, &generation, &err), 0);
    generation->source = config;
    return generation;
}

static void unused_when_the_last_worker_drops_it(void **state)
{
    struct registry *registry = registry_new();
    struct generation *generation = load(registry);
    (void)state;
    assert_true(generation_unused(generation));
    generation_share(generation, 2);
    assert_false(generation_unused(generation));
    generation_hold(generation, 0);
    generation_hold(generation, 1);
    generation_hold(generation, 1);
    generation_drop(generation, 0);
    generation_drop(generation, 1);
    assert_false(generation_unused(generation));
    generation_drop(generation, 1);
    assert_true(generation_unused(generation));
    generation_free(&generation);
    registry_free(&registry);
}

/* A worker that has not heard of it yet has its share all the same. */
static void a_share_waits_to_be_taken(void **state)
{
    struct registry *registry = registry_new();
    struct generation *generation = load(registry);
    (void)state;
    generation_share(generation, 2);
    generation_hold(generation, 0);
    generation_drop(generation, 0);
    assert_false(generation_unused(generation));
    generation_hold(generation, 1);
    generation_drop(generation, 1);
    assert_true(generation_unused(generation));
    generation_free(&generation);
    registry_free(&registry);
}

static void listeners_are_found_by_address(void **state)
{
    struct registry *registry = registry_new();
    struct generation *generation = load(registry);
    (void)state;
    assert_int_equal(generation_listener(generation, "127.0.0.1:2"), 1);
    assert_int_equal(generation_listener(generation, "127.0.0.1:3"), SIZE_MAX);
    generation_free(&generation);
    registry_free(&registry);
}

static void a_change_is_told_once_it_has_settled(void **state)
{
    struct file_watch watch = {0};
    (void)state;
    file_watch_know(&watch, 10);
    assert_false(file_watch_look(&watch, 10));
    assert_false(file_watch_look(&watch, 11));
    assert_false(file_watch_look(&watch, 12));
    assert_true(file_watch_look(&watch, 12));
    assert_false(file_watch_look(&watch, 12));
    assert_false(file_watch_look(&watch, 13));
    assert_false(file_watch_look(&watch, 12));
    assert_false(file_watch_look(&watch, 13));
    assert_true(file_watch_look(&watch, 13));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unused_when_the_last_worker_drops_it),
        cmocka_unit_test(a_share_waits_to_be_taken),
        cmocka_unit_test(listeners_are_found_by_address),
        cmocka_unit_test(a_change_is_told_once_it_has_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
