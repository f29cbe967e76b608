/* A job runs when it is woken, and is over once stop returns. */
#include "services/subd/ticker.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct job {
    sem_t ran;
    int count;
};

static int64_t step(void *ctx)
{
    struct job *job = ctx;
    job->count++;
    sem_post(&job->ran);
    return TICKER_NEVER;
}

static void woken(void **unused)
{
    (void)unused;
    struct job job = {.count = 0};
    struct ticker *ticker = NULL;
    struct err err;
    sem_init(&job.ran, 0, 0);
    assert_int_equal(ticker_start("test", step, &job, &ticker, &err), 0);
    for (int i = 0; i < 5; i++) {
        sem_wait(&job.ran);
        ticker_wake(ticker);
    }
    sem_wait(&job.ran);
    ticker_stop(&ticker);
    assert_null(ticker);
    assert_int_equal(job.count, 6);
    ticker_stop(&ticker);
    sem_destroy(&job.ran);
}

static int64_t again(void *ctx)
{
    struct job *job = ctx;
    job->count++;
    sem_post(&job->ran);
    return 0;
}

static void repeated(void **unused)
{
    (void)unused;
    struct job job = {.count = 0};
    struct ticker *ticker = NULL;
    struct err err;
    sem_init(&job.ran, 0, 0);
    assert_int_equal(ticker_start("test", again, &job, &ticker, &err), 0);
    for (int i = 0; i < 10; i++)
        sem_wait(&job.ran);
    ticker_stop(&ticker);
    assert_true(job.count >= 10);
    sem_destroy(&job.ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(woken),
        cmocka_unit_test(repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
