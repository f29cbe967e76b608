/* The fence around the key. The filter is written out here rather than made by a library: it is
 * twenty instructions, and what it lets through is to be read in one place. Sanitizers need more
 * system calls than the code that they watch; their builds get those, and keep standard error. */
#include "services/payd/signer/jail.h"

#include "libcommon/secret_memory.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the signer's system call filter is not known for this processor"
#endif

#define NOBODY 65534

static int limit(int what, rlim_t value, struct err *err)
{
    const struct rlimit bound = {value, value};
    return setrlimit((__rlimit_resource_t)what, &bound) == 0 ? 0 : err_set(err, "setrlimit: %m");
}

/* The parent's end closes the socket too; this is for a process that does not read just then. */
static int die_with_parent(struct err *err)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 ? 0 : err_set(err, "PDEATHSIG: %m");
}

int jail_early(struct err *err)
{
    /* Who asks payd to end by a signal to the whole group means payd, which may still need a
     * signature until it closes the socket. */
    static const int ignored[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
    if (secret_memory_undumpable(err) != 0 || limit(RLIMIT_CORE, 0, err) != 0)
        return -1;
    return die_with_parent(err);
}

static int by_number(const char *user, uid_t *uid, gid_t *gid)
{
    char *end;
    unsigned long first = strtoul(user, &end, 10);
    if (end == user || *end != ':' || user[0] < '0' || user[0] > '9' || first > INT32_MAX)
        return -1;
    const char *rest = end + 1;
    unsigned long second = strtoul(rest, &end, 10);
    if (end == rest || *end != '\0' || rest[0] < '0' || rest[0] > '9' || second > INT32_MAX)
        return -1;
    *uid = (uid_t)first;
    *gid = (gid_t)second;
    return 0;
}

static int find_user(const char *user, uid_t *uid, gid_t *gid, struct err *err)
{
    *uid = *gid = NOBODY;
    if (user != NULL && user[0] != '\0' && by_number(user, uid, gid) != 0) {
        const struct passwd *entry = getpwnam(user); /* NOLINT(concurrency-mt-unsafe) */
        if (entry == NULL)
            return err_set(err, "the user %.40s is not known here", user);
        *uid = entry->pw_uid;
        *gid = entry->pw_gid;
    }
    return *uid == 0 || *gid == 0 ? err_set(err, "the signer must not stay root") : 0;
}

int jail_user(const char *user, struct err *err)
{
    uid_t uid;
    gid_t gid;
    if (geteuid() != 0)
        return 0;
    if (find_user(user, &uid, &gid, err) != 0)
        return -1;
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return err_set(err, "cannot become the user %u: %m", (unsigned)uid);
    if (setuid(0) == 0)
        return err_set(err, "could become root again");
    /* A change of user resets both. */
    return secret_memory_undumpable(err) != 0 ? -1 : die_with_parent(err);
}

#define LOAD(field)                                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
/* The lower half of argument n: both processors are little-endian. */
#define ARGUMENT(n) LOAD(args[n])
#define ALLOW       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define UNLESS(value, skip)                                                                        \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, (uint8_t)(skip))
#define WHEN_ANY(bits, skip)                                                                       \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), (uint8_t)(skip), 0)
#define CALL(name) UNLESS(SYS_##name, 1), ALLOW
/* Only on the socket. */
#define CALL_ON_SOCKET(name) UNLESS(SYS_##name, 4), ARGUMENT(0), UNLESS(JAIL_FD, 1), ALLOW, KILL

static const struct sock_filter filter[] = {
    LOAD(arch),
    UNLESS(ARCHITECTURE, 1),
    BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
    KILL,
    LOAD(nr),
    CALL_ON_SOCKET(read),
#if SANITIZED
    CALL(write),
    CALL(mmap),
    CALL(mprotect),
    CALL(madvise),
    CALL(futex),
    CALL(getpid),
    CALL(gettid),
    CALL(sched_yield),
    CALL(sigaltstack),
    CALL(rt_sigprocmask),
    CALL(rt_sigaction),
    CALL(nanosleep),
    CALL(clock_nanosleep),
#else
    CALL_ON_SOCKET(write),
    /* Memory for data: never to be executed, never a file's. */
    UNLESS(SYS_mmap, 7),
    ARGUMENT(2),
    WHEN_ANY(PROT_EXEC, 4),
    ARGUMENT(3),
    WHEN_ANY(MAP_ANONYMOUS, 1),
    KILL,
    ALLOW,
    KILL,
#endif
    CALL(clock_gettime), /* of the budget's hour, where the vDSO cannot answer */
    CALL(brk),
    CALL(munmap),
    CALL(rt_sigreturn),
    CALL(restart_syscall),
    CALL(exit),
    CALL(exit_group),
    KILL,
};

static int close_descriptors(struct err *err)
{
    unsigned first = SANITIZED ? STDERR_FILENO + 1 : JAIL_FD + 1;
    return close_range(first, ~0u, 0) == 0 ? 0 : err_set(err, "close_range: %m");
}

int jail_close(struct err *err)
{
    const struct sock_fprog program = {.len = ARRAY_LEN(filter),
                                       .filter = (struct sock_filter *)(uintptr_t)filter};
    if (close_descriptors(err) != 0 || limit(RLIMIT_NOFILE, 0, err) != 0 ||
        limit(RLIMIT_NPROC, 0, err) != 0 || (!SANITIZED && limit(RLIMIT_FSIZE, 0, err) != 0))
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set(err, "PR_SET_NO_NEW_PRIVS: %m");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        return err_set(err, "seccomp: %m (the kernel or the container forbids filters)");
    return 0;
}
