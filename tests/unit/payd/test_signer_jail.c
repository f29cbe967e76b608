/* The signer's fence, tried from inside: each attempt runs in a process of its own that has locked
 * itself up, and must not live to tell. */
#include "../common/vectors.h"

#include "libcommon/mem.h"
#include "services/payd/signer/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Raw, so that no library stands between an attempt and the filter. */
#define TRY(name, ...)                                                                             \
    static void try_##name(void)                                                                   \
    {                                                                                              \
        syscall(__VA_ARGS__);                                                                      \
    }

static char path[] = "/etc/passwd";
static char *const nothing[] = {path, NULL};

TRY(open, SYS_openat, AT_FDCWD, path, O_RDONLY)
TRY(create, SYS_openat, AT_FDCWD, "/tmp/octroi-out", O_WRONLY | O_CREAT, 0600)
TRY(socket, SYS_socket, AF_INET, SOCK_STREAM, 0)
TRY(unix_socket, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, nothing)
TRY(connect, SYS_connect, 0, path, 16)
TRY(send_elsewhere, SYS_sendto, 0, path, 1, 0, NULL, 0)
TRY(send_descriptor, SYS_sendmsg, 0, NULL, 0)
TRY(receive_descriptor, SYS_recvmsg, 0, NULL, 0)
TRY(exec, SYS_execve, path, nothing, nothing)
TRY(clone, SYS_clone, SIGCHLD, 0, 0, 0, 0)
TRY(clone3, SYS_clone3, NULL, 0)
TRY(kill, SYS_kill, 1, 0)
TRY(kill_thread, SYS_tgkill, 1, 1, 0)
TRY(trace, SYS_ptrace, PTRACE_TRACEME, 0, 0, 0)
TRY(read_other, SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0)
TRY(become_dumpable, SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)
TRY(become_root, SYS_setuid, 0)
TRY(limits, SYS_prlimit64, 0, RLIMIT_CORE, NULL, NULL)
TRY(duplicate, SYS_dup, 0)
TRY(control, SYS_ioctl, 0, 0, 0)
TRY(rename, SYS_renameat2, AT_FDCWD, path, AT_FDCWD, path, 0)
TRY(unlink, SYS_unlinkat, AT_FDCWD, "/tmp/octroi-out", 0)
TRY(directory, SYS_getdents64, 0, path, 1)
TRY(status, SYS_newfstatat, AT_FDCWD, path, NULL, 0)
TRY(filter, SYS_seccomp, 0, 0, NULL)
TRY(uring, SYS_io_uring_setup, 1, NULL)
TRY(memfd, SYS_memfd_create, "x", 0)
TRY(read_elsewhere, SYS_read, 1, path, 0)
TRY(splice, SYS_splice, 0, NULL, 1, NULL, 1, 0)
TRY(write_elsewhere, SYS_write, 2, path, 0)
TRY(write_many, SYS_writev, 0, NULL, 0)
TRY(code, SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
TRY(file_memory, SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, 0, 0)
TRY(protection, SYS_mprotect, NULL, 0, PROT_EXEC)

static pid_t start_behind_the_fence(void (*attempt)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        if (jail_early(&err) != 0 || jail_close(&err) != 0)
            _exit(99);
        attempt();
        _exit(0);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Runs it behind the fence; the process's wait status. */
static int behind_the_fence(void (*attempt)(void))
{
    return end_of(start_behind_the_fence(attempt));
}

static void kills_who_tries(void **state)
{
    (void)state;

    static const struct {
        const char *name;
        void (*attempt)(void);
        bool sanitizers; /* need it */
    } cases[] = {

#define CASE(name) {#name, try_##name, false}
#define TIGHT_CASE(name)                                                                           \
    {                                                                                              \
#name, try_##name, true                                                                    \
    }
        CASE(open),
        CASE(create),
        CASE(socket),
        CASE(unix_socket),
        CASE(connect),
        CASE(send_elsewhere),
        CASE(send_descriptor),
        CASE(receive_descriptor),
        CASE(exec),
        CASE(clone),
        CASE(clone3),
        CASE(kill),
        CASE(kill_thread),
        CASE(trace),
        CASE(read_other),
        CASE(become_dumpable),
        CASE(become_root),
        CASE(limits),
        CASE(duplicate),
        CASE(control),
        CASE(rename),
        CASE(unlink),
        CASE(directory),
        CASE(status),
        CASE(filter),
        CASE(uring),
        CASE(memfd),
        CASE(read_elsewhere),
        CASE(splice),
        CASE(write_many),
        TIGHT_CASE(write_elsewhere),
        TIGHT_CASE(code),
        TIGHT_CASE(file_memory),
        TIGHT_CASE(protection),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (SANITIZED && cases[i].sanitizers)
            continue;
        int status = behind_the_fence(cases[i].attempt);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s: wait status %#x", cases[i].name, status);
        if (WCOREDUMP(status))
            fail_msg("%s left a core dump", cases[i].name);
    }
}

#define EVERY_CALL 512 /* beyond the last that kernels have */

/* What the filter lets through, by argument too. */
static bool let_through(long call)
{
    static const long calls[] = {
        SYS_read,
        SYS_clock_gettime,
        SYS_brk,
        SYS_munmap,
        SYS_rt_sigreturn,
        SYS_mmap,
        SYS_restart_syscall,
        SYS_exit,
        SYS_exit_group,
        SYS_write,
#if SANITIZED
        SYS_mprotect,
        SYS_madvise,
        SYS_futex,
        SYS_getpid,
        SYS_gettid,
        SYS_sched_yield,
        SYS_sigaltstack,
        SYS_rt_sigprocmask,
        SYS_rt_sigaction,
        SYS_nanosleep,
        SYS_clock_nanosleep,
#endif
    };
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        if (call == calls[i])
            return true;
    }
#if defined(__x86_64__)
    /* uretprobe and uprobe: kernels lead them past every filter, and they do nothing for who was
     * not sent there by the kernel itself. */
    return call == 335 || call == 336;
#else
    return false;
#endif
}

static long attempted;

static void try_attempted(void)
{
    syscall(attempted, -1, 0, 0, 0, 0, 0);
}

/* Many at once: a process takes its time to die. */
static void kills_each(const long *calls, size_t count)
{
    pid_t pids[EVERY_CALL];
    for (size_t i = 0; i < count; i++) {
        attempted = calls[i];
        pids[i] = start_behind_the_fence(try_attempted);
    }
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        int status = end_of(pids[i]);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
            continue;
        failed++;
        print_error("call %#lx: wait status %#x\n", calls[i], status);
    }
    assert_int_equal(failed, 0);
}

/* Whatever was not thought of: every number there is and, on x86-64, their x32 doubles. */
static void kills_every_other_call(void **state)
{
    long calls[64];
    size_t count = 0;
    (void)state;
    for (long call = 0; call < EVERY_CALL; call++) {
        if (!let_through(call))
            calls[count++] = call;
        if (count == ARRAY_LEN(calls) || call == EVERY_CALL - 1) {
            kills_each(calls, count);
            count = 0;
        }
    }
#if defined(__x86_64__)
    for (long call = 0; call < (long)ARRAY_LEN(calls); call++)
        calls[call] = call | 0x40000000;
    kills_each(calls, ARRAY_LEN(calls));
#endif
}

#if defined(__x86_64__)
/* By the door of 32-bit programs the numbers mean other calls: 5 is open, 3 is read. */
static void try_old_door(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(3), "b"(0), "c"(0), "d"(0) : "memory");
}

static void kills_who_comes_by_the_old_door(void **state)
{
    (void)state;
    int status = behind_the_fence(try_old_door);
    /* Kernels that have not built it in say so by SIGSEGV. */
    assert_true(WIFSIGNALED(status));
    assert_true(WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV);
}
#endif

static void what_signing_needs(void)
{
    for (size_t size = 16; size <= 16 << 20; size *= 4) {
        char *memory = malloc(size);
        memset(memory, 1, size);
        free(memory);
    }
    /* Past the vDSO, as on machines whose clock it cannot read. */
    struct timespec now;
    if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) != 0)
        _exit(2);
    char byte;
    if (read(JAIL_FD, &byte, 1) != 1 || byte != 'x' || write(JAIL_FD, "y", 1) != 1)
        _exit(1);
}

static void lets_it_work(void **state)
{
    (void)state;
    int pair[2], kept = dup(0);
    char byte = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(dup2(pair[1], 0), 0);
    assert_int_equal(write(pair[0], "x", 1), 1);
    int status = behind_the_fence(what_signing_needs);
    dup2(kept, 0);
    assert_int_equal(status, 0);
    assert_int_equal(read(pair[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    close(kept);
    close(pair[0]);
    close(pair[1]);
}

/* 1: refused; 0: is now what it should be, and cannot go back. */
static int become(const char *user)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        if (jail_user(user, &err) != 0)
            _exit(1);
        _exit(getuid() != 0 && geteuid() != 0 && getgid() != 0 && getgroups(0, NULL) == 0 &&
                      prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && setuid(0) != 0
                  ? 0
                  : 2);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void becomes_somebody_else(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    static const char *const good[] = {NULL, "", "nobody", "4242:4243"};
    static const char *const bad[] = {
        "root", "0:0",  "0:1",          "1:0",          "1",
        "1:",   ":1",   "-1:1",         "1:-1",         "1:1x",
        " 1:1", "+1:1", "no-such-user", "4294967296:1", "99999999999999999999:1"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(become(good[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(become(bad[i]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_who_tries),
        cmocka_unit_test(kills_every_other_call),
#if defined(__x86_64__)
        cmocka_unit_test(kills_who_comes_by_the_old_door),
#endif
        cmocka_unit_test(lets_it_work),
        cmocka_unit_test(becomes_somebody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
