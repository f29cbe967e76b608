/* Whether files have changed, asked for again and again: by what stat says of them, so that a link
 * or a mount that is exchanged counts too. A change is told once it has been the same for two looks
 * in a row: who writes a file in pieces, or several files, is waited for. */
#ifndef PROXY_FILE_WATCH_H
#define PROXY_FILE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct proxy_config;

struct file_watch {
    uint64_t known;   /* of what was taken over; 0: nothing yet */
    uint64_t pending; /* seen at the last look; 0: no change */
    uint64_t seen;    /* before the files were read that are taken over now */
};

/* All that a configuration is made of: `path` (may be NULL), certificates, keys, authorities. */
uint64_t file_watch_stamp(const char *path, const struct proxy_config *config);
/* What is there is known; 0: or may not be, another look is to find a change. */
void file_watch_know(struct file_watch *watch, uint64_t stamp);
/* One look. True: it has changed, and settled; said once. */
bool file_watch_look(struct file_watch *watch, uint64_t stamp);

#endif
