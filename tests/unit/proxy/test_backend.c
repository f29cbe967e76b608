/* What a backend's name stands for, as it changes: bounded in memory, and changed by one thread at
 * a time. getaddrinfo is this file's. */
#include "services/proxy/backend.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    in_addr_t address;
    pthread_barrier_t *together; /* all who ask get their answer at the same time */
} names;

static struct found {
    struct addrinfo info;
    struct sockaddr_in address;

} * found_of(struct addrinfo *info)

{
    return (struct found *)(void *)info;
}

int getaddrinfo(const char *restrict host, const char *restrict port,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    (void)host, (void)port;
    if (hints->ai_flags & AI_NUMERICHOST)
        return EAI_NONAME;
    struct found *found = calloc(1, sizeof(*found));
    assert_non_null(found);
    found->address.sin_family = AF_INET;
    found->address.sin_addr.s_addr = names.address;
    found->info.ai_addr = (void *)&found->address;
    found->info.ai_addrlen = sizeof(found->address);
    *out = &found->info;
    if (names.together)
        pthread_barrier_wait(names.together);
    return 0;
}

void freeaddrinfo(struct addrinfo *info)
{
    free(found_of(info));
}

static struct backend *named(void)
{
    static const struct backend_config config = {.url = "http://origin.test:80"};
    struct backend *backend = calloc(1, sizeof(*backend));
    struct err err;
    assert_non_null(backend);
    assert_int_equal(backend_init(backend, &config, &err), 0);
    assert_null(atomic_load(&backend->address));
    return backend;
}

static void end(struct backend *backend)
{
    backend_clear(backend);
    free(backend);
}

static unsigned count_kept(const struct backend *backend)
{
    unsigned count = 0;
    for (const struct backend_address *at = atomic_load(&backend->address); at; at = at->retired)
        count++;
    return count;
}

static void a_name_that_never_stands_still_is_bounded(void **state)
{
    struct backend *backend = named();
    struct err err;
    (void)state;
    for (in_addr_t i = 1; i <= 1000; i++) {
        names.address = i;
        assert_int_equal(backend_resolve(backend, &err), 0);
        const struct backend_address *now = atomic_load(&backend->address);
        const struct sockaddr_in *address = (const void *)&now->list[0].addr;
        assert_int_equal(address->sin_addr.s_addr, i);
        assert_int_equal(now->version, i);
    }
    assert_in_range(count_kept(backend), 2, 100);
    end(backend);
}

static void the_same_answer_is_no_change(void **state)
{
    struct backend *backend = named();
    struct err err;
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(backend_resolve(backend, &err), 0);
    assert_int_equal(count_kept(backend), 1);
    end(backend);
}

static void *resolve(void *backend)
{
    struct err err;
    return backend_resolve(backend, &err) ? backend : NULL;
}

/* A reload finds a new name while the resolver's thread does. */
static void two_threads_find_the_same_name_once(void **state)
{
    pthread_barrier_t together;
    struct backend *backend = named();
    pthread_t thread;
    void *failed;
    (void)state;
    pthread_barrier_init(&together, NULL, 2);
    names.together = &together;
    assert_int_equal(pthread_create(&thread, NULL, resolve, backend), 0);
    assert_null(resolve(backend));
    pthread_join(thread, &failed);
    names.together = NULL;
    pthread_barrier_destroy(&together);
    assert_null(failed);
    assert_int_equal(count_kept(backend), 1);
    end(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_never_stands_still_is_bounded),
        cmocka_unit_test(the_same_answer_is_no_change),
        cmocka_unit_test(two_threads_find_the_same_name_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
