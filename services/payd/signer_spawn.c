/* What the signer's process is given: its options as arguments, a socket, nothing of payd's
 * environment, descriptors and signals. By posix_spawn, since payd has threads when it starts it.
 */
#include "services/payd/signer_spawn.h"

#include "libcommon/eth/hex.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARGS_MAX    26
#define PROGRAM_MAX 512

/* Beside this process's own binary, also where that was replaced on disk meanwhile. */
static int find_program(const struct signer_options *options, char out[PROGRAM_MAX],
                        struct err *err)
{
    static const char name[] = "payd-signer";
    if (options->program != NULL && options->program[0] != '\0') {
        if (snprintf(out, PROGRAM_MAX, "%s", options->program) >= PROGRAM_MAX)
            return err_set(err, "the signer's path is too long");
        return 0;
    }
    ssize_t len = readlink("/proc/self/exe", out, PROGRAM_MAX - sizeof(name));
    if (len <= 0 || len == PROGRAM_MAX - (ssize_t)sizeof(name))
        return err_set(err, "the signer: /proc/self/exe: %m");
    out[len] = '\0';
    char *slash = strrchr(out, '/');
    memcpy(slash == NULL ? out : slash + 1, name, sizeof(name));
    return 0;
}

static void add(char **argv, size_t *n, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    argv[(*n)++] = mem_strdup(name);
    argv[(*n)++] = mem_strdup(value);
}

static void add_number(char **argv, size_t *n, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    add(argv, n, name, text);
}

static void arguments(const struct signer_options *o, char *argv[ARGS_MAX])
{
    char contract[43];
    size_t n = 0;
    hex_encode(o->contract, 20, contract);
    argv[n++] = mem_strdup("payd-signer");
    add(argv, &n, "--keystore", o->keystore);
    add(argv, &n, "--mnemonic-file", o->mnemonic_file);
    add(argv, &n, "--password-file", o->password_file);
    add(argv, &n, "--path", o->path);
    add(argv, &n, "--user", o->user);
    add_number(argv, &n, "--chain-id", o->chain_id);
    add(argv, &n, "--contract", contract);
    add_number(argv, &n, "--max-fee", o->max_fee);
    add_number(argv, &n, "--max-priority-fee", o->max_priority_fee);
    add_number(argv, &n, "--max-gas", o->max_gas);
    add_number(argv, &n, "--budget", o->budget);
    argv[n] = NULL;
}

/* payd's own environment holds passwords; only what sanitizers read is passed on. */
static void environment(char *envp[4])
{
    size_t n = 0;
    for (char **entry = environ; *entry != NULL && n < 3; entry++) {
        if (strncmp(*entry, "ASAN_OPTIONS=", 13) == 0 ||
            strncmp(*entry, "UBSAN_OPTIONS=", 14) == 0 || strncmp(*entry, "TSAN_OPTIONS=", 13) == 0)
            envp[n++] = *entry;
    }
    envp[n] = NULL;
}

/* The socket becomes standard input, nothing else but standard error comes along; signals as they
 * are by default. A group of its own keeps a terminal's Ctrl-C away. */
static int run(const char *program, char **argv, int socket, pid_t *pid)
{
    char *envp[4];
    sigset_t none, all;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigemptyset(&none);
    sigfillset(&all);
    environment(envp);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&actions, socket, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int result = posix_spawn(pid, program, &actions, &attr, argv, envp);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return result;
}

int signer_spawn(const struct signer_options *options, pid_t *pid, int *fd, struct err *err)
{
    char program[PROGRAM_MAX], *argv[ARGS_MAX];
    int pair[2];
    if (find_program(options, program, err) != 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return err_set(err, "the signer: no socket pair: %m");
    arguments(options, argv);
    int failed = run(program, argv, pair[1], pid);
    for (size_t i = 0; argv[i] != NULL; i++)
        free(argv[i]);
    close(pair[1]);
    if (failed != 0) {
        close(pair[0]);
        errno = failed;
        return err_set(err, "the signer: %.300s: %m", program);
    }
    *fd = pair[0];
    return 0;
}
