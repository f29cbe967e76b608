/* Journals that a dead process left: found by their free locks, read back from log and cells. */
#include "services/proxy/journal_internal.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STALE_S 60

static int replay(void *ctx, const struct journal_record *record, struct err *err)
{
    struct journal *journal = ctx;
    if (record->type != JOURNAL_BATCH && record->type != JOURNAL_CHECKPOINT)
        return err_set(err, "a record of type %d is not known here", record->type);
    bool first = journal->next_seq == 1;
    int64_t expected = record->type == JOURNAL_BATCH ? journal->next_seq : journal->next_seq - 1;
    if ((!first && record->seq != expected) || record->seq < 0 || record->seq == INT64_MAX)
        return err_set(err, "batch %lld follows batch %lld", (long long)record->seq,
                       (long long)journal->next_seq - 1);
    journal_leases_replay(&journal->leases, record);
    journal->next_seq = record->seq + 1;
    journal->final = record->final;
    if (record->type == JOURNAL_BATCH)
        journal_keep_batch(journal, record->seq, record->final, record->text, record->len);
    return 0;
}

static void set_aside(const char *dir, const char *id, const char *suffix)
{
    char from[JOURNAL_FILE_PATH], to[JOURNAL_FILE_PATH + 8];
    journal_file_path(dir, id, suffix, from);
    snprintf(to, sizeof(to), "%s.bad", from);
    rename(from, to);
}

/* Every cell may be in use, and none is handed out. */
static void use_all(struct journal *journal)
{
    journal->regions = journal->file.regions;
    journal->per_region = journal->file.per_region;
    journal->region = mem_array(journal->regions, sizeof(*journal->region));
    for (unsigned i = 0; i < journal->regions; i++) {
        journal->region[i].ring = mem_array(journal->per_region, sizeof(uint32_t));
        journal->region[i].fresh = journal->per_region;
    }
}

static int open_both(struct journal *journal, bool *mine, struct err *err)
{
    enum journal_lock lock = journal_file_open(journal->dir, journal->id, &journal->file, err);
    *mine = false;
    journal->damaged = lock == JOURNAL_DAMAGED;
    if (journal->damaged)
        return -1;
    if (lock == JOURNAL_BUSY)
        return 0;
    if (lock == JOURNAL_LOCKED)
        use_all(journal);
    enum journal_lock log = journal_log_open(journal->dir, journal->id, &journal->log);
    journal->damaged = log == JOURNAL_ABSENT && lock == JOURNAL_LOCKED;
    if (journal->damaged)
        return err_set(err, "its log is missing");
    *mine = log == JOURNAL_LOCKED;
    return 0;
}

static int recover(struct journal *journal, struct err *err)
{
    journal->damaged = journal_log_replay(&journal->log, replay, journal, err) != 0;
    if (journal->damaged)
        return -1;
    journal->adopted = true;
    return journal_seal(journal, true, err);
}

int journal_adopt(const char *dir, const char *id, struct journal **out, struct err *err)
{
    struct journal *journal = journal_new(dir, id);
    bool mine;
    *out = NULL;
    int failed = open_both(journal, &mine, err);
    if (!failed && mine)
        failed = recover(journal, err);
    if (journal->damaged) {
        set_aside(dir, id, "live");
        set_aside(dir, id, "log");
    }
    if (failed || !mine)
        journal_close(&journal);
    else if (journal_done(journal))
        journal_remove(&journal);
    *out = journal;
    return failed ? -1 : 0;
}

/* What a process that died while it made a journal left behind. */
static void remove_stale(const char *dir, const char *name)
{
    char path[JOURNAL_FILE_PATH];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (stat(path, &st) == 0 && time(NULL) - st.st_mtime > STALE_S)
        unlink(path);
}

static bool known(char (*ids)[LEASE_JOURNAL_LEN + 1], size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(ids[i], id, LEASE_JOURNAL_LEN) == 0)
            return true;
    return false;
}

size_t journal_scan(const char *dir, char (*ids)[LEASE_JOURNAL_LEN + 1], size_t max)
{
    DIR *handle = opendir(dir);
    struct dirent *entry;
    size_t count = 0;
    if (!handle)
        return 0;
    while (count < max && (entry = readdir(handle)) != NULL) {
        const char *name = entry->d_name;
        if (strlen(name) < LEASE_JOURNAL_LEN + 1 || !lease_journal_valid(name, LEASE_JOURNAL_LEN))
            continue;
        const char *suffix = name + LEASE_JOURNAL_LEN;
        if (strcmp(suffix, ".tmp") == 0 || strcmp(suffix, ".log.new") == 0) {
            remove_stale(dir, name);
            continue;
        }
        if ((strcmp(suffix, ".live") != 0 && strcmp(suffix, ".log") != 0) ||
            known(ids, count, name))
            continue;
        memcpy(ids[count], name, LEASE_JOURNAL_LEN);
        ids[count++][LEASE_JOURNAL_LEN] = '\0';
    }
    closedir(handle);
    return count;
}
