/* Files of the kernel are opened once and read again and again: a look costs some microseconds, and
 * one loop at a time takes it. */
#include "services/proxy/memory_guard.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Clients can fill hundreds of megabytes a second: near the limit it is looked at more often. */
#define LOOK_NS      20000000LL
#define LOOK_NEAR_NS 5000000LL
#define TEXT_MAX     8192
#define CGROUPS      "/sys/fs/cgroup"

/* In thousandths of the limit. */
#define NEAR_FROM  750
#define SHORT_FROM 900
#define SHORT_TO   850
#define SPENT_FROM 950
#define SPENT_TO   920

#define CACHES 3

/* The names of the two versions' files, and lines of memory.stat: what the kernel gives up before
 * it kills. */
struct cgroup_names {
    const char *limit, *used, *caches[CACHES];
};

static const struct cgroup_names names_v1 = {
    .limit = "memory.limit_in_bytes",
    .used = "memory.usage_in_bytes",
    .caches = {"\ntotal_inactive_file ", "\ntotal_active_file "},
};
static const struct cgroup_names names_v2 = {
    .limit = "memory.max",
    .used = "memory.current",
    .caches = {"\ninactive_file ", "\nactive_file ", "\nslab_reclaimable "},
};

struct cgroup {
    int used, stat; /* descriptors; -1: none */
    const struct cgroup_names *names;
    int64_t limit; /* 0: none */
};

struct memory_guard {
    int statm;
    int64_t page, machine;
    struct cgroup cgroup;
    atomic_int_fast64_t limit, next_ns, used, allowed;
    atomic_int level;
    bool untrimmed; /* of who trims */
};

static int64_t share_of(int64_t used, int64_t limit)
{
    return limit > 0 ? (int64_t)((double)used * 1000 / (double)limit) : 0;
}

enum memory_level memory_guard_judge(enum memory_level now, int64_t used, int64_t limit)
{
    int64_t share = share_of(used, limit);
    if (share >= (now == MEMORY_SPENT ? SPENT_TO : SPENT_FROM))
        return MEMORY_SPENT;
    return share >= (now == MEMORY_FINE ? SHORT_FROM : SHORT_TO) ? MEMORY_SHORT : MEMORY_FINE;
}

/* Text of a file of the kernel from its beginning; false where there is none. */
static bool read_text(int fd, char text[TEXT_MAX])
{
    ssize_t n = fd < 0 ? -1 : pread(fd, text, TEXT_MAX - 1, 0);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static int open_in(const char *dir, const char *name)
{
    char path[TEXT_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
    return len < 0 || (size_t)len >= sizeof(path) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

/* "max", and what is more than a machine can have, is no limit: 0. */
static int64_t limit_in(const char *dir, const struct cgroup_names *names)
{
    char text[TEXT_MAX];
    int fd = open_in(dir, names->limit);
    bool there = read_text(fd, text);
    if (fd >= 0)
        close(fd);
    long long limit = there ? strtoll(text, NULL, 10) : 0;
    return limit > 0 && limit < INT64_MAX / 2 ? limit : 0;
}

static void close_cgroup(struct cgroup *cgroup)
{
    if (cgroup->used >= 0)
        close(cgroup->used);
    if (cgroup->stat >= 0)
        close(cgroup->stat);
    *cgroup = (struct cgroup){.used = -1, .stat = -1};
}

/* Of all that hold for the process, the tightest. */
static void consider(struct cgroup *cgroup, const char *dir, const struct cgroup_names *names)
{
    int64_t limit = limit_in(dir, names);
    if (limit == 0 || (cgroup->limit && cgroup->limit <= limit))
        return;
    close_cgroup(cgroup);
    *cgroup = (struct cgroup){.used = open_in(dir, names->used),
                              .stat = open_in(dir, "memory.stat"),
                              .names = names,
                              .limit = limit};
}

static void find_cgroup(struct cgroup *cgroup, const char *cgroups, const char *own)
{
    char dir[TEXT_MAX];
    int len = snprintf(dir, sizeof(dir), "%s/memory", cgroups);
    if (len > 0 && (size_t)len < sizeof(dir))
        consider(cgroup, dir, &names_v1);
    len = snprintf(dir, sizeof(dir), "%s%s", cgroups, own);
    if (len <= 0 || (size_t)len >= sizeof(dir))
        return;
    size_t root = strlen(cgroups);
    for (char *end = dir + len; end && (size_t)(end - dir) >= root; end = strrchr(dir, '/')) {
        *end = '\0';
        consider(cgroup, dir, &names_v2);
    }
}

struct memory_guard *memory_guard_new(const char *cgroups, const char *own)
{
    struct memory_guard *guard = mem_zalloc(sizeof(*guard));
    guard->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    guard->page = sysconf(_SC_PAGESIZE);
    guard->machine = sysconf(_SC_PHYS_PAGES) * guard->page;
    guard->cgroup = (struct cgroup){.used = -1, .stat = -1};
    find_cgroup(&guard->cgroup, cgroups, own);
    return guard;
}

struct memory_guard *memory_guard_of_process(void)
{
    char text[TEXT_MAX] = "";
    int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    bool there = read_text(fd, text);
    if (fd >= 0)
        close(fd);
    char *line = there ? strstr(text, "0::/") : NULL;
    if (!line || (line != text && line[-1] != '\n'))
        return memory_guard_new(CGROUPS, "/");
    line[strcspn(line, "\n")] = '\0';
    return memory_guard_new(CGROUPS, line + strlen("0::"));
}

void memory_guard_free(struct memory_guard **guard)
{
    if (!*guard)
        return;
    if ((*guard)->statm >= 0)
        close((*guard)->statm);
    close_cgroup(&(*guard)->cgroup);
    free(*guard);
    *guard = NULL;
}

void memory_guard_limit(struct memory_guard *guard, int64_t limit)
{
    atomic_store_explicit(&guard->limit, limit, memory_order_relaxed);
}

/* The second number: pages in memory. */
static int64_t resident(const struct memory_guard *guard)
{
    char text[TEXT_MAX];
    if (!read_text(guard->statm, text))
        return 0;
    const char *space = strchr(text, ' ');
    return space ? strtoll(space, NULL, 10) * guard->page : 0;
}

/* Pages of files in a tmpfs are not among the caches. */
static int64_t cgroup_used(const struct cgroup *cgroup)
{
    char text[TEXT_MAX];
    if (cgroup->limit == 0 || !read_text(cgroup->used, text))
        return 0;
    int64_t used = strtoll(text, NULL, 10), cache = 0;
    bool told = read_text(cgroup->stat, text);
    for (size_t i = 0; told && i < CACHES && cgroup->names->caches[i]; i++) {
        const char *line = cgroup->names->caches[i], *at = strstr(text, line);
        cache += at ? strtoll(at + strlen(line), NULL, 10) : 0;
    }
    return cache < used ? used - cache : 0;
}

static bool tighter(const struct memory_state *a, const struct memory_state *b)
{
    return a->limit > 0 && (double)a->used * (double)b->limit > (double)b->used * (double)a->limit;
}

static struct memory_state measure(const struct memory_guard *guard)
{
    int64_t limit = atomic_load_explicit(&guard->limit, memory_order_relaxed);
    struct memory_state own = {.used = resident(guard), .limit = limit ? limit : guard->machine};
    struct memory_state group = {.used = cgroup_used(&guard->cgroup), .limit = guard->cgroup.limit};
    return tighter(&group, &own) ? group : own;
}

static void tell(const struct memory_state *state)
{
    switch (state->level) {
    case MEMORY_FINE:
        log_info("there is memory again", LOG_INT(BYTES, state->used),
                 LOG_INT(LIMIT, state->limit));
        break;
    case MEMORY_SHORT:
        log_warn("memory is short: requests are refused", LOG_INT(BYTES, state->used),
                 LOG_INT(LIMIT, state->limit));
        break;
    case MEMORY_SPENT:
        log_error("memory is spent: connections are refused", LOG_INT(BYTES, state->used),
                  LOG_INT(LIMIT, state->limit));
        break;
    }
}

void memory_guard_look(struct memory_guard *guard, int64_t now_ns)
{
    int64_t next = atomic_load_explicit(&guard->next_ns, memory_order_relaxed);
    if (now_ns < next || !atomic_compare_exchange_strong(&guard->next_ns, &next, INT64_MAX))
        return;
    struct memory_state state = measure(guard);
    enum memory_level before = memory_guard_level(guard);
    state.level = memory_guard_judge(before, state.used, state.limit);
    atomic_store_explicit(&guard->used, state.used, memory_order_relaxed);
    atomic_store_explicit(&guard->allowed, state.limit, memory_order_relaxed);
    atomic_store_explicit(&guard->level, (int)state.level, memory_order_relaxed);
    if (state.level != before)
        tell(&state);
    bool near = share_of(state.used, state.limit) >= NEAR_FROM;
    atomic_store(&guard->next_ns, now_ns + (near ? LOOK_NEAR_NS : LOOK_NS));
}

enum memory_level memory_guard_level(const struct memory_guard *guard)
{
    return (enum memory_level)atomic_load_explicit(&guard->level, memory_order_relaxed);
}

struct memory_state memory_guard_state(const struct memory_guard *guard)
{
    return (struct memory_state){
        .used = atomic_load_explicit(&guard->used, memory_order_relaxed),
        .limit = atomic_load_explicit(&guard->allowed, memory_order_relaxed),
        .level = memory_guard_level(guard),
    };
}

void memory_guard_trim(struct memory_guard *guard)
{
    bool now = memory_guard_level(guard) != MEMORY_FINE;
    if (now || guard->untrimmed)
        malloc_trim(0);
    guard->untrimmed = now;
}
