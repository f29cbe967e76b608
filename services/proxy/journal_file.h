/* The live file of a journal: a page of header, then cells by region. Locked (flock) for as long as
 * its process lives, which is how others know that it does. It is preallocated, so that a full disk
 * shows at the start and never as SIGBUS. */
#ifndef PROXY_JOURNAL_FILE_H
#define PROXY_JOURNAL_FILE_H

#include "libcommon/proto/lease.h"
#include "services/proxy/journal_cell.h"

#define JOURNAL_FILE_PATH     4096
#define JOURNAL_FILE_MAX_SIZE (1024LL * 1024 * 1024)

struct journal_header;

struct journal_file {
    int fd; /* -1: not open */
    size_t size;
    struct journal_header *header;
    struct journal_cell *cells;
    unsigned regions, per_region;
};

enum journal_lock { JOURNAL_LOCKED, JOURNAL_BUSY, JOURNAL_ABSENT, JOURNAL_DAMAGED };

int journal_file_create(const char *dir, const char *id, unsigned regions, unsigned per_region,
                        struct journal_file *file, struct err *err) MUST_USE;
/* Opens and locks it. DAMAGED fills err; it is locked then too. */
enum journal_lock journal_file_open(const char *dir, const char *id, struct journal_file *file,
                                    struct err *err) MUST_USE;
void journal_file_close(struct journal_file *file);
/* On disk, where the directory is on one. */
int journal_file_sync(struct journal_file *file, struct err *err) MUST_USE;
/* Something may have been granted in this journal's name. */
void journal_file_set_asked(struct journal_file *file);
bool journal_file_asked(const struct journal_file *file);

/* Shared with the log. */
void journal_file_path(const char *dir, const char *id, const char *suffix,
                       char out[JOURNAL_FILE_PATH]);
/* Locks what stands at this path now. */
enum journal_lock journal_file_lock(int fd, const char *path);
int journal_file_sync_dir(const char *dir, struct err *err) MUST_USE;

#endif
