/* Creating, locking and mapping live files. */
#include "services/proxy/journal_file.h"

#include "libcommon/mem.h"
#include "services/proxy/token_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_SIZE 4096
#define VERSION     1

static const char magic[8] = {'O', 'C', 'T', 'J', 'R', 'N', 'L', '\n'};

struct journal_layout {
    char magic[8];
    uint32_t version, cell_size, regions, per_region;
    char id[40];
};

struct journal_header {
    struct journal_layout layout;
    uint64_t check; /* of layout */
    _Atomic uint32_t asked;
};

void journal_file_path(const char *dir, const char *id, const char *suffix,
                       char out[JOURNAL_FILE_PATH])
{
    snprintf(out, JOURNAL_FILE_PATH, "%s/%s.%s", dir, id, suffix);
}

static uint64_t checksum(const struct journal_layout *layout)
{
    static const uint8_t fixed[16] = "octroi journal h";
    return token_cache_hash(fixed, layout, sizeof(*layout));
}

int journal_file_sync_dir(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd);
    if (failed)
        err_set(err, "%s: %s", dir, strerror(errno));
    if (fd >= 0)
        close(fd);
    return failed ? -1 : 0;
}

enum journal_lock journal_file_lock(int fd, const char *path)
{
    struct stat mine, there;
    if (flock(fd, LOCK_EX | LOCK_NB))
        return JOURNAL_BUSY;
    if (fstat(fd, &mine) || stat(path, &there) || mine.st_ino != there.st_ino ||
        mine.st_dev != there.st_dev)
        return JOURNAL_ABSENT;
    return JOURNAL_LOCKED;
}

static int map_file(struct journal_file *file, struct err *err)
{
    void *map = mmap(NULL, file->size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (map == MAP_FAILED)
        return err_set(err, "mmap of %zu bytes: %s", file->size, strerror(errno));
    file->header = map;
    file->cells = (struct journal_cell *)((char *)map + HEADER_SIZE);
    return 0;
}

static int build(struct journal_file *file, const char *path, const char *id, struct err *err)
{
    if (journal_file_lock(file->fd, path) != JOURNAL_LOCKED)
        return err_set(err, "%s: cannot be locked", path);
    int failed = posix_fallocate(file->fd, 0, (off_t)file->size);
    if (failed)
        return err_set(err, "%s: %zu bytes: %s", path, file->size, strerror(failed));
    if (map_file(file, err))
        return -1;
    struct journal_layout *layout = &file->header->layout;
    *layout = (struct journal_layout){.version = VERSION,
                                      .cell_size = sizeof(struct journal_cell),
                                      .regions = file->regions,
                                      .per_region = file->per_region};
    memcpy(layout->magic, magic, sizeof(magic));
    memcpy(layout->id, id, LEASE_JOURNAL_LEN);
    file->header->check = checksum(layout);
    return journal_file_sync(file, err);
}

static size_t size_for(unsigned regions, unsigned per_region)
{
    return HEADER_SIZE + (size_t)regions * per_region * sizeof(struct journal_cell);
}

/* Made under another name, so that nobody adopts it before it is locked and whole. */
int journal_file_create(const char *dir, const char *id, unsigned regions, unsigned per_region,
                        struct journal_file *file, struct err *err)
{
    char making[JOURNAL_FILE_PATH], path[JOURNAL_FILE_PATH];
    journal_file_path(dir, id, "tmp", making);
    journal_file_path(dir, id, "live", path);
    *file = (struct journal_file){
        .size = size_for(regions, per_region), .regions = regions, .per_region = per_region};
    file->fd = open(making, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file->fd < 0)
        return err_set(err, "%s: %s", making, strerror(errno));
    if (build(file, making, id, err) == 0 &&
        (rename(making, path) == 0 || err_set(err, "%s: %s", path, strerror(errno)) == 0) &&
        journal_file_sync_dir(dir, err) == 0)
        return 0;
    unlink(making);
    journal_file_close(file);
    return -1;
}

static int check_layout(struct journal_file *file, const char *id, struct err *err)
{
    const struct journal_layout *layout = &file->header->layout;
    if (memcmp(layout->magic, magic, sizeof(magic)) != 0 || file->header->check != checksum(layout))
        return err_set(err, "the header is damaged");
    if (layout->version != VERSION || layout->cell_size != sizeof(struct journal_cell))
        return err_set(err, "version %u is not known here", layout->version);
    if (memcmp(layout->id, id, LEASE_JOURNAL_LEN) != 0)
        return err_set(err, "it holds another id");
    if (size_for(layout->regions, layout->per_region) != file->size)
        return err_set(err, "its size does not fit its header");
    file->regions = layout->regions;
    file->per_region = layout->per_region;
    return 0;
}

static int take(struct journal_file *file, const char *id, struct err *err)
{
    struct stat st;
    if (fstat(file->fd, &st))
        return err_set(err, "%s", strerror(errno));
    if (st.st_size < HEADER_SIZE || st.st_size > JOURNAL_FILE_MAX_SIZE)
        return err_set(err, "its size is %lld", (long long)st.st_size);
    file->size = (size_t)st.st_size;
    if (map_file(file, err))
        return -1;
    return check_layout(file, id, err);
}

enum journal_lock journal_file_open(const char *dir, const char *id, struct journal_file *file,
                                    struct err *err)
{
    char path[JOURNAL_FILE_PATH];
    journal_file_path(dir, id, "live", path);
    *file = (struct journal_file){.fd = open(path, O_RDWR | O_CLOEXEC)};
    if (file->fd < 0)
        return JOURNAL_ABSENT;
    enum journal_lock lock = journal_file_lock(file->fd, path);
    if (lock == JOURNAL_LOCKED && take(file, id, err)) {
        err_wrap(err, "%s", path);
        return JOURNAL_DAMAGED;
    }
    if (lock != JOURNAL_LOCKED)
        journal_file_close(file);
    return lock;
}

void journal_file_close(struct journal_file *file)
{
    if (file->header)
        munmap(file->header, file->size);
    if (file->fd >= 0)
        close(file->fd);
    file->header = NULL;
    file->fd = -1;
}

int journal_file_sync(struct journal_file *file, struct err *err)
{
    if (file->header && msync(file->header, file->size, MS_SYNC))
        return err_set(err, "msync: %s", strerror(errno));
    return 0;
}

void journal_file_set_asked(struct journal_file *file)
{
    atomic_store_explicit(&file->header->asked, 1, memory_order_relaxed);
}

bool journal_file_asked(const struct journal_file *file)
{
    return file->header && atomic_load_explicit(&file->header->asked, memory_order_relaxed);
}
