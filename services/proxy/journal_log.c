/* Records on disk. */
#include "services/proxy/journal_log.h"

#include "libcommon/buf.h"
#include "libcommon/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC       0x4c4a4f4fu
#define STATES_MAX  (1024u * 1024)
#define TEXT_MAX    (4u * 1024 * 1024)
#define LOG_MAX     (1024LL * 1024 * 1024)
#define DIGEST_SIZE 32

struct record_header {
    uint32_t magic, type;
    int64_t seq;
    uint32_t count, len, final, unused;
    uint8_t digest[DIGEST_SIZE]; /* of the record with zeroes here */
};

static int digest_of(const void *data, size_t len, uint8_t out[DIGEST_SIZE])
{
    return EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

static void encode(const struct journal_record *record, struct buf *out)
{
    size_t start = out->len;
    struct record_header header = {.magic = MAGIC,
                                   .type = (uint32_t)record->type,
                                   .seq = record->seq,
                                   .count = (uint32_t)record->count,
                                   .len = (uint32_t)record->len,
                                   .final = record->final};
    buf_add(out, &header, sizeof(header));
    if (record->count)
        buf_add(out, record->states, record->count * sizeof(*record->states));
    if (record->len)
        buf_add(out, record->text, record->len);
    if (digest_of(out->data + start, out->len - start, header.digest))
        abort();
    memcpy(out->data + start, &header, sizeof(header));
}

static int write_all(int fd, const char *data, size_t len, off_t at, struct err *err)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, "write: %s", n < 0 ? strerror(errno) : "nothing was written");
        data += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int open_new(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, "%s: %s", path, strerror(errno));
    if (journal_file_lock(fd, path) == JOURNAL_LOCKED)
        return fd;
    close(fd);
    return err_set(err, "%s: cannot be locked", path);
}

int journal_log_create(const char *dir, const char *id, struct journal_log *log, struct err *err)
{
    char path[JOURNAL_FILE_PATH];
    journal_file_path(dir, id, "log", path);
    *log = (struct journal_log){.fd = open_new(path, err)};
    return log->fd < 0 ? -1 : 0;
}

enum journal_lock journal_log_open(const char *dir, const char *id, struct journal_log *log)
{
    char path[JOURNAL_FILE_PATH];
    struct stat st;
    journal_file_path(dir, id, "log", path);
    *log = (struct journal_log){.fd = open(path, O_RDWR | O_CLOEXEC)};
    if (log->fd < 0)
        return JOURNAL_ABSENT;
    enum journal_lock lock = journal_file_lock(log->fd, path);
    if (lock == JOURNAL_LOCKED && fstat(log->fd, &st) == 0)
        log->size = st.st_size;
    else
        journal_log_close(log);
    return lock;
}

void journal_log_close(struct journal_log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}

/* 1: whole; 0: torn, or the end. */
static int read_record(const char *data, size_t left, struct record_header *header)
{
    if (left < sizeof(*header))
        return 0;
    memcpy(header, data, sizeof(*header));
    if (header->magic != MAGIC || header->count > STATES_MAX || header->len > TEXT_MAX)
        return 0;
    size_t size = sizeof(*header) + header->count * sizeof(struct journal_state) + header->len;
    if (size > left)
        return 0;
    uint8_t digest[DIGEST_SIZE];
    AUTO_FREE char *copy = mem_alloc(size);
    memcpy(copy, data, size);
    memset(copy + offsetof(struct record_header, digest), 0, DIGEST_SIZE);
    return digest_of(copy, size, digest) == 0 && memcmp(digest, header->digest, DIGEST_SIZE) == 0;
}

/* The states of a record start unaligned in the file. */
static int hand_over(const struct record_header *header, const char *data,
                     int (*fn)(void *ctx, const struct journal_record *record, struct err *err),
                     void *ctx, struct err *err)
{
    AUTO_FREE struct journal_state *states = mem_array(header->count + 1u, sizeof(*states));
    memcpy(states, data + sizeof(*header), header->count * sizeof(*states));
    struct journal_record record = {
        .type = (enum journal_record_type)header->type,
        .seq = header->seq,
        .final = header->final != 0,
        .states = states,
        .count = header->count,
        .text = data + sizeof(*header) + header->count * sizeof(*states),
        .len = header->len,
    };
    return fn(ctx, &record, err);
}

static int read_all(struct journal_log *log, char *out, struct err *err)
{
    off_t at = 0;
    while (at < log->size) {
        ssize_t n = pread(log->fd, out + at, (size_t)(log->size - at), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, "read: %s", n < 0 ? strerror(errno) : "it is shorter than it was");
        at += n;
    }
    return 0;
}

/* Only the last record can be torn, since each is synced before the next: a whole one behind it
 * means that the disk has lost something. */
static bool whole_one_follows(const char *data, size_t left)
{
    struct record_header header;
    uint32_t mark = MAGIC;
    for (size_t at = 1; at + sizeof(header) <= left; at++)
        if (memcmp(data + at, &mark, sizeof(mark)) == 0 &&
            read_record(data + at, left - at, &header) == 1)
            return true;
    return false;
}

static int cut(struct journal_log *log, off_t at, struct err *err)
{
    if (ftruncate(log->fd, at) || fdatasync(log->fd))
        return err_set(err, "cutting its torn end: %s", strerror(errno));
    log->size = at;
    return 0;
}

int journal_log_replay(struct journal_log *log,
                       int (*fn)(void *ctx, const struct journal_record *record, struct err *err),
                       void *ctx, struct err *err)
{
    if (log->size > LOG_MAX)
        return err_set(err, "the log is larger than %lld bytes", LOG_MAX);
    AUTO_FREE char *data = mem_alloc((size_t)log->size + 1);
    struct record_header header;
    size_t at = 0, size = (size_t)log->size;
    if (read_all(log, data, err))
        return -1;
    while (read_record(data + at, size - at, &header) == 1) {
        if (hand_over(&header, data + at, fn, ctx, err))
            return -1;
        at += sizeof(header) + header.count * sizeof(struct journal_state) + header.len;
    }
    if (at == size)
        return 0;
    if (whole_one_follows(data + at, size - at))
        return err_set(err, "the log is damaged at byte %zu of %zu", at, size);
    return cut(log, (off_t)at, err);
}

int journal_log_append(struct journal_log *log, const struct journal_record *record,
                       struct err *err)
{
    AUTO_BUF struct buf bytes = {.max = 0};
    if (log->broken)
        return err_set(err, "an earlier write could not be taken back");
    encode(record, &bytes);
    if (write_all(log->fd, bytes.data, bytes.len, log->size, err) == 0) {
        if (fdatasync(log->fd) == 0) {
            log->size += (off_t)bytes.len;
            return 0;
        }
        err_set(err, "fdatasync: %s", strerror(errno));
    }
    log->broken = ftruncate(log->fd, log->size) != 0 || fdatasync(log->fd) != 0;
    return -1;
}

int journal_log_rewrite(const char *dir, const char *id, struct journal_log *log,
                        const struct journal_record *records, size_t count, struct err *err)
{
    char making[JOURNAL_FILE_PATH], path[JOURNAL_FILE_PATH];
    AUTO_BUF struct buf bytes = {.max = 0};
    journal_file_path(dir, id, "log.new", making);
    journal_file_path(dir, id, "log", path);
    for (size_t i = 0; i < count; i++)
        encode(&records[i], &bytes);
    unlink(making);
    struct journal_log next = {.fd = open_new(making, err), .size = (off_t)bytes.len};
    if (next.fd < 0)
        return -1;
    if (write_all(next.fd, bytes.data, bytes.len, 0, err) ||
        (fdatasync(next.fd) && err_set(err, "fdatasync: %s", strerror(errno))) ||
        (rename(making, path) && err_set(err, "%s: %s", path, strerror(errno)))) {
        unlink(making);
        journal_log_close(&next);
        return -1;
    }
    journal_log_close(log);
    *log = next;
    return journal_file_sync_dir(dir, err);
}
