/* The queue of a pool: oldest first, bounded, and no wake-up is lost, however threads race for the
 * places: a lost one would let the test wait for ever (the alarm ends it). */
#include "libcommon/mem.h"
#include "services/proxy/wait_queue.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned woken[16];
static size_t woken_count;

static void note_wake(struct waiter *waiter)
{
    woken[woken_count++] = (unsigned)waiter->number;
}

static void test_order(void **state)
{
    struct wait_queue queue;
    struct waiter waiters[5] = {0};
    (void)state;
    wait_queue_init(&queue);
    woken_count = 0;
    for (size_t i = 0; i < 5; i++) {
        waiters[i].wake = note_wake;
        assert_int_equal(wait_queue_join(&queue, &waiters[i], 4), i < 4);
    }
    assert_int_equal(wait_queue_length(&queue), 4);
    wait_queue_wake(&queue); /* 0 */
    assert_int_equal(wait_queue_length(&queue), 4);
    assert_true(wait_queue_leave(&queue, &waiters[1]));
    wait_queue_wake(&queue); /* 2 */
    assert_false(wait_queue_leave(&queue, &waiters[2]));
    /* Both found nothing and go back to their places. */
    wait_queue_back(&queue, &waiters[2]);
    wait_queue_back(&queue, &waiters[0]);
    for (int i = 0; i < 4; i++)
        wait_queue_wake(&queue);
    static const unsigned expected[] = {0, 2, 0, 2, 3};
    assert_int_equal(woken_count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_int_equal(woken[i], expected[i]);
    for (int i = 0; i < 3; i++)
        wait_queue_done(&queue, &waiters[0]);
    assert_int_equal(wait_queue_length(&queue), 0);
    wait_queue_wake(&queue);
    wait_queue_destroy(&queue);
}

enum { THREADS = 8, ROUNDS = 4000, PLACES = 3 };

struct desk {
    struct wait_queue queue;
    atomic_int taken, most, waited;
};

/* A thread stands for a worker with one request at a time; its inbox is a flag. */
struct clerk {
    struct waiter waiter; /* first */
    struct desk *desk;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool mail;
};

static void post(struct waiter *waiter)
{
    struct clerk *clerk = (struct clerk *)waiter;
    pthread_mutex_lock(&clerk->lock);
    clerk->mail = true;
    pthread_cond_signal(&clerk->changed);
    pthread_mutex_unlock(&clerk->lock);
}

static void read_mail(struct clerk *clerk)
{
    pthread_mutex_lock(&clerk->lock);
    while (!clerk->mail)
        pthread_cond_wait(&clerk->changed, &clerk->lock);
    clerk->mail = false;
    pthread_mutex_unlock(&clerk->lock);
}

static bool take(struct desk *desk)
{
    int now = atomic_load(&desk->taken);
    do {
        if (now >= PLACES)
            return false;
    } while (!atomic_compare_exchange_weak(&desk->taken, &now, now + 1));
    int most = atomic_load(&desk->most);
    while (now + 1 > most && !atomic_compare_exchange_weak(&desk->most, &most, now + 1))
        ;
    return true;
}

static void pass_on(struct desk *desk)
{
    if (wait_queue_length(&desk->queue) && atomic_load(&desk->taken) < PLACES)
        wait_queue_wake(&desk->queue);
}

/* As room_balance does; one in eight gives up before its turn. */
static bool wait_turn(struct clerk *clerk, bool gives_up)
{
    struct desk *desk = clerk->desk;
    atomic_fetch_add(&desk->waited, 1);
    assert_true(wait_queue_join(&desk->queue, &clerk->waiter, THREADS));
    pass_on(desk);
    if (gives_up && wait_queue_leave(&desk->queue, &clerk->waiter))
        return false;
    for (;;) {
        read_mail(clerk);
        if (gives_up) {
            wait_queue_done(&desk->queue, &clerk->waiter);
            wait_queue_wake(&desk->queue);
            return false;
        }
        if (take(desk))
            break;
        wait_queue_back(&desk->queue, &clerk->waiter);
        pass_on(desk);
    }
    wait_queue_done(&desk->queue, &clerk->waiter);
    pass_on(desk);
    return true;
}

static void give_back(struct desk *desk)
{
    atomic_fetch_sub(&desk->taken, 1);
    wait_queue_wake(&desk->queue);
}

static void *serve(void *arg)
{
    struct clerk *clerk = arg;
    struct desk *desk = clerk->desk;
    for (int i = 0; i < ROUNDS; i++) {
        bool newcomer = wait_queue_length(&desk->queue) == 0 && take(desk);
        if (!newcomer && !wait_turn(clerk, i % 8 == 0))
            continue;
        if (i % 16 == 0)
            sched_yield();
        give_back(desk);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct desk desk = {.taken = PLACES}; /* until somebody waits */
    struct clerk clerks[THREADS] = {0};
    pthread_t threads[THREADS];
    (void)state;
    alarm(120);
    wait_queue_init(&desk.queue);
    for (size_t i = 0; i < THREADS; i++) {
        clerks[i].desk = &desk;
        clerks[i].waiter.wake = post;
        pthread_mutex_init(&clerks[i].lock, NULL);
        pthread_cond_init(&clerks[i].changed, NULL);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, serve, &clerks[i]), 0);
    while (atomic_load(&desk.waited) == 0)
        sched_yield();
    for (size_t i = 0; i < PLACES; i++)
        give_back(&desk);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        pthread_mutex_destroy(&clerks[i].lock);
        pthread_cond_destroy(&clerks[i].changed);
    }
    alarm(0);
    assert_true(atomic_load(&desk.waited) > 0);
    assert_true(atomic_load(&desk.most) <= PLACES);
    assert_int_equal(atomic_load(&desk.taken), 0);
    assert_int_equal(wait_queue_length(&desk.queue), 0);
    wait_queue_destroy(&desk.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order),
                                       cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
