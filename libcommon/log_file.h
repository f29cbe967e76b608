/* Where lines are written: standard error, or a file. Lines are collected and leave in few writes.
 * What takes no more bytes costs the lines, which are counted; writing goes on with the next. Used
 * by one thread, the counter by any. */
#ifndef LIBCOMMON_LOG_FILE_H
#define LIBCOMMON_LOG_FILE_H

#include "libcommon/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_file;
struct log_ring;

/* A descriptor that stays the caller's. */
struct log_file *log_file_of(int fd);
/* Opened for appending, made with mode 0640 where it is not there; a pipe too, if someone reads. */
int log_file_open(const char *path, struct log_file **out, struct err *err) MUST_USE;
void log_file_close(struct log_file **file);
/* Nobody reads a pipe: log_file_flush waits until this ring has other things to do. */
void log_file_patience(struct log_file *file, const struct log_ring *ring);

void log_file_add(struct log_file *file, const char *data, size_t len);
/* Writes what was added. -1: lines were lost, errno says why. */
int log_file_flush(struct log_file *file);
/* Lines that could not be written since the start. */
uint64_t log_file_lost(const struct log_file *file);

#endif
