/* A journal's files as a disk may give them back: the log in any state, the cells in any state.
 * Adoption ends with batches that can be read, or refuses; it never reads beside them. The first
 * byte says what the rest is. */
#include "services/proxy/journal.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CELLS 4

static char dir[64], id[LEASE_JOURNAL_LEN + 1];

static void path_of(const char *suffix, char out[160])
{
    snprintf(out, 160, "%s/%s.%s", dir, id, suffix);
}

/* A journal with something in its log and in its cells. */
static void make(void)
{
    struct journal_identity identity = {.lease = 5, .period = 1790000000};
    struct journal *journal;
    struct err err;
    strcpy(identity.sub, "sub_0123456789abcdef0123456789abcdef");
    strcpy(identity.day, "2026-11-21");
    if (journal_create(dir, 1, CELLS, &journal, &err))
        abort();
    strcpy(id, journal_id(journal));
    struct journal_cell *cell = journal_cell_open(journal, 0, &identity);
    for (int i = 0; i < 2; i++) {
        journal_cell_add(cell, JOURNAL_REQUESTS, 3);
        if (journal_seal(journal, false, &err))
            abort();
    }
    journal_cell_add(cell, JOURNAL_BYTES_OUT, 9);
    journal_close(&journal);
}

static void overwrite(const char *suffix, off_t at, const uint8_t *data, size_t size, int truncate)
{
    char path[160];
    path_of(suffix, path);
    int fd = open(path, O_RDWR);
    if (fd < 0 || pwrite(fd, data, size, at) != (ssize_t)size ||
        (truncate && ftruncate(fd, at + (off_t)size)))
        abort();
    close(fd);
}

static void judge(void)
{
    struct journal *journal;
    struct err err;
    if (journal_adopt(dir, id, &journal, &err) || !journal)
        return;
    struct journal_batch *batch;
    while ((batch = journal_due(journal, 0)) != NULL)
        batch->sent_ns = 1;
    journal_applied(journal, INT64_MAX);
    if (journal_retire(journal, &err) == 0)
        assert(journal_done(journal));
    journal_remove(&journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const suffixes[] = {"live", "log", "live.bad", "log.bad", "log.new"};
    char path[160];
    if (!dir[0]) {
        strcpy(dir, "/dev/shm/octroi-fuzz-XXXXXX");
        if (!mkdtemp(dir))
            abort();
    }
    if (size < 2 || size > 4000)
        return 0;
    make();
    switch (data[0] % 4) {
    case 0: /* the whole log */
        overwrite("log", 0, data + 1, size - 1, 1);
        break;
    case 1: /* a stretch of the log */
        overwrite("log", data[1], data + 2, size - 2, 0);
        break;
    case 2: /* the header, or the first cells */
        overwrite("live", data[1], data + 2, size - 2 < 300 ? size - 2 : 300, 0);
        break;
    default:
        overwrite("live", 4096, data + 1, size - 1 < 512 ? size - 1 : 512, 0);
    }
    judge();
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        path_of(suffixes[i], path);
        unlink(path);
    }
    return 0;
}
