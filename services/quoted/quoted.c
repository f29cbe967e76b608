/* The price book's way into force: read, then published in PostgreSQL by a thread that waits for
 * the database however long it takes, and only then used for quotes. */
#include "services/quoted/quoted.h"

#include "libcommon/log.h"
#include "services/quoted/gauges.h"
#include "services/quoted/plans.h"

#include <string.h>
#include <time.h>

#define RETRY_S    2
#define ACQUIRE_MS 2000

extern const struct pg_migration quoted_migrations[];
extern const size_t quoted_migrations_count;

struct pricebook *quoted_book(struct quoted *quoted)
{
    pthread_mutex_lock(&quoted->lock);
    struct pricebook *book = quoted->book != NULL ? pricebook_ref(quoted->book) : NULL;
    pthread_mutex_unlock(&quoted->lock);
    return book;
}

struct pricebook *quoted_shown(struct quoted *quoted)
{
    pthread_mutex_lock(&quoted->lock);
    struct pricebook *book = pricebook_ref(quoted->book != NULL ? quoted->book : quoted->next);
    pthread_mutex_unlock(&quoted->lock);
    return book;
}

void quoted_give_back(struct quoted *quoted, struct pricebook **book)
{
    pthread_mutex_lock(&quoted->lock);
    pricebook_unref(book);
    pthread_mutex_unlock(&quoted->lock);
}

void quoted_publish(struct quoted *quoted, struct pricebook *book)
{
    pthread_mutex_lock(&quoted->lock);
    pricebook_unref(&quoted->next);
    quoted->next = book;
    pthread_cond_broadcast(&quoted->woken);
    pthread_mutex_unlock(&quoted->lock);
}

bool quoted_can_sign(struct quoted *quoted, const char *signer)
{
    pthread_rwlock_rdlock(&quoted->keys_lock);
    bool can = keyring_find(quoted->keys, signer) != NULL;
    bool news = signer[0] != '\0' && strcmp(signer, quoted->signer) != 0;
    pthread_rwlock_unlock(&quoted->keys_lock);
    if (!news)
        return can;
    pthread_rwlock_wrlock(&quoted->keys_lock);
    memcpy(quoted->signer, signer, sizeof(quoted->signer));
    pthread_rwlock_unlock(&quoted->keys_lock);
    if (can)
        log_info("the contract's quote signer", LOG_STR(KID, signer));
    else
        log_error("the contract's quote signer is none of our keys", LOG_STR(KID, signer));
    return can;
}

int quoted_rekey(struct quoted *quoted, struct keyring **keys, struct err *err)
{
    struct keyring *before = quoted->keys;
    int rc = 0;
    pthread_rwlock_wrlock(&quoted->keys_lock);
    if (before != NULL && keyring_find(before, quoted->signer) != NULL &&
        keyring_find(*keys, quoted->signer) == NULL)
        rc = err_set(err, "signer: the contract's signer is %s, whose key is not there any more",
                     quoted->signer);
    else
        quoted->keys = MEM_STEAL(*keys);
    pthread_rwlock_unlock(&quoted->keys_lock);
    if (rc != 0)
        return -1;
    keyring_free(&before);
    keyring_guard(quoted->keys);
    for (size_t i = 0; i < quoted->keys->count; i++)
        log_info("quotes are signed", LOG_STR(KID, quoted->keys->keys[i].address),
                 LOG_UINT(CHAIN_ID, quoted->chain.domain.chain_id));
    return 0;
}

static int publish(struct quoted *quoted, struct pricebook *book, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (pg_acquire(quoted->pg, ACQUIRE_MS, &conn, err) != 0 ||
        pg_migrate(conn, "quotes", quoted_migrations, quoted_migrations_count, err) != 0)
        return -1;
    return plans_sync(conn, book, err);
}

/* Under the lock. `book` is a reference of the caller's. */
static void enforce(struct quoted *quoted, struct pricebook *book)
{
    pricebook_unref(&quoted->book);
    quoted->book = pricebook_ref(book);
    if (quoted->next == book)
        pricebook_unref(&quoted->next);
    metrics_count(quoted->metrics, GAUGES_BOOKS, NULL, NULL);
    log_info("price book in force", LOG_STR(HASH, book->version),
             LOG_UINT(COUNT, book->tier_count));
}

/* Under the lock, which is open while the database works. Numbers go into the book before anybody
 * else can see it make quotes: `next` is only shown. */
static bool try_next(struct quoted *quoted)
{
    struct err err = {""};
    struct pricebook *book = pricebook_ref(quoted->next);
    pthread_mutex_unlock(&quoted->lock);
    int rc = publish(quoted, book, &err);
    service_dependency(quoted->service, "price book", true, rc == 0, rc == 0 ? "" : err.msg);
    pthread_mutex_lock(&quoted->lock);
    if (rc == 0)
        enforce(quoted, book);
    pricebook_unref(&book);
    return rc == 0;
}

static void wait_woken(struct quoted *quoted, bool retry)
{
    struct timespec until;
    if (!retry) {
        pthread_cond_wait(&quoted->woken, &quoted->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RETRY_S;
    pthread_cond_timedwait(&quoted->woken, &quoted->lock, &until);
}

static void *publisher(void *arg)
{
    struct quoted *quoted = arg;
    pthread_mutex_lock(&quoted->lock);
    while (!quoted->stopping) {
        bool done = quoted->next == NULL || try_next(quoted);
        if (!quoted->stopping && (quoted->next == NULL || !done))
            wait_woken(quoted, !done);
    }
    pthread_mutex_unlock(&quoted->lock);
    return NULL;
}

void quoted_start(struct quoted *quoted)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&quoted->woken, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&quoted->lock, NULL);
    if (pthread_create(&quoted->publisher, NULL, publisher, quoted) != 0)
        abort();
    quoted->publishing = true;
}

void quoted_stop(struct quoted *quoted)
{
    if (!quoted->publishing)
        return;
    pthread_mutex_lock(&quoted->lock);
    quoted->stopping = true;
    pthread_cond_broadcast(&quoted->woken);
    pthread_mutex_unlock(&quoted->lock);
    pthread_join(quoted->publisher, NULL);
    pricebook_unref(&quoted->book);
    pricebook_unref(&quoted->next);
    pthread_cond_destroy(&quoted->woken);
    pthread_mutex_destroy(&quoted->lock);
}
