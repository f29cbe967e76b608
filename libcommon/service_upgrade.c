/* Owns the replacement of a running process by the binary that stands on disk (USR2). The new one
 * inherits the very listening sockets: a second set would lose what waits in the accept queues of
 * the first. The old one serves until the new one says over a pipe that it is ready, and goes on
 * serving if it never does. Names of sockets travel in $OCTROI_INHERIT as lines of fd=name. */
#include "libcommon/service_run.h"

#include "libcommon/buf.h"
#include "libcommon/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define INHERIT  "OCTROI_INHERIT"
#define READY    "OCTROI_READY_FD"
#define LIMIT_MS 60000

static bool is_listening(int fd)
{
    int on = 0;
    socklen_t len = sizeof(on);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on != 0;
}

static void keep(struct service_socket **list, size_t *count, const char *name, int fd)
{
    *list = mem_resize(*list, *count + 1, sizeof(**list));
    (*list)[(*count)++] = (struct service_socket){.name = mem_strdup(name), .fd = fd};
}

static void free_sockets(struct service_socket **list, size_t *count, bool owned)
{
    for (size_t i = 0; i < *count; i++) {
        if (owned && (*list)[i].fd >= 0)
            close((*list)[i].fd);
        free((*list)[i].name);
    }
    free(*list);
    *list = NULL;
    *count = 0;
}

static void read_inherited(struct service_upgrade *upgrade, const char *text)
{
    AUTO_FREE char *copy = mem_strdup(text);
    char *rest = copy;
    char *line;

    while ((line = strsep(&rest, "\n")) != NULL) {
        char *name;
        long fd = strtol(line, &name, 10);
        if (*name++ != '=' || fd <= STDERR_FILENO || !is_listening((int)fd))
            continue;
        fcntl((int)fd, F_SETFD, FD_CLOEXEC);
        keep(&upgrade->inherited, &upgrade->inherited_count, name, (int)fd);
    }
}

/* As it was called, so that a link that is moved to another version is followed; absolute, because
 * nothing promises that the working directory stays. */
static char *program_path(const char *called)
{
    char path[4096];
    AUTO_FREE char *cwd = getcwd(NULL, 0);

    if (called[0] == '/')
        return mem_strdup(called);
    if (strchr(called, '/') != NULL && cwd != NULL)
        return mem_printf("%s/%s", cwd, called);
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path));
    return len > 0 && (size_t)len < sizeof(path) ? mem_strndup(path, (size_t)len)
                                                 : mem_strdup(called);
}

void service_upgrade_inherit(struct service *service, char **argv)
{
    struct service_upgrade *upgrade = &service->upgrade;
    const char *inherited = getenv(INHERIT);
    const char *ready = getenv(READY);

    *upgrade = (struct service_upgrade){.argv = argv, .tell_fd = -1, .ready_fd = -1};
    upgrade->program = program_path(argv[0]);
    if (inherited != NULL && ready != NULL) {
        read_inherited(upgrade, inherited);
        upgrade->tell_fd = atoi(ready);
        fcntl(upgrade->tell_fd, F_SETFD, FD_CLOEXEC);
    }
    unsetenv(INHERIT);
    unsetenv(READY);
}

int service_inherited(struct service *service, const char *name)
{
    struct service_upgrade *upgrade = &service->upgrade;

    for (size_t i = 0; i < upgrade->inherited_count; i++) {
        struct service_socket *socket = &upgrade->inherited[i];
        if (socket->fd < 0 || strcmp(socket->name, name) != 0)
            continue;
        int fd = socket->fd;
        socket->fd = -1;
        return fd;
    }
    return -1;
}

void service_upgrade_tell(struct service *service)
{
    struct service_upgrade *upgrade = &service->upgrade;

    free_sockets(&upgrade->inherited, &upgrade->inherited_count, true);
    if (upgrade->tell_fd < 0)
        return;
    if (write(upgrade->tell_fd, "R", 1) != 1)
        log_warn("the process before is gone already");
    close(upgrade->tell_fd);
    upgrade->tell_fd = -1;
}

void service_offer(struct service *service, const char *name, int fd)
{
    if (fd >= 0)
        keep(&service->upgrade.offered, &service->upgrade.offered_count, name, fd);
}

static char *inherit_text(const struct service_upgrade *upgrade)
{
    struct buf text = {0};

    buf_puts(&text, INHERIT "=");
    for (size_t i = 0; i < upgrade->offered_count; i++)
        buf_printf(&text, "%d=%s\n", upgrade->offered[i].fd, upgrade->offered[i].name);
    return buf_steal(&text);
}

/* environ with two more; the array is the caller's, its strings are not. */
static char **environment(char *inherit, char *ready)
{
    size_t count = 0;

    while (environ[count] != NULL)
        count++;
    char **env = mem_array(count + 3, sizeof(*env));
    memcpy(env, environ, count * sizeof(*env));
    env[count] = inherit;
    env[count + 1] = ready;
    return env;
}

static int spawn(struct service_upgrade *upgrade, char **env, int ready_fd)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;

    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&files);
    /* Onto itself: the descriptor is kept over exec in the child only. */
    for (size_t i = 0; i < upgrade->offered_count; i++)
        posix_spawn_file_actions_adddup2(&files, upgrade->offered[i].fd, upgrade->offered[i].fd);
    posix_spawn_file_actions_adddup2(&files, ready_fd, ready_fd);
    int status = posix_spawn(&upgrade->pid, upgrade->program, &files, &attr, upgrade->argv, env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return status;
}

/* Not by fork: its handlers wait for locks that threads of this process may hold, and it copies the
 * page tables of all that they use. */
static int start_program(struct service_upgrade *upgrade, struct err *err)
{
    int pipe_fds[2];

    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return err_set(err, "pipe: %s", strerror(errno));
    AUTO_FREE char *inherit = inherit_text(upgrade);
    AUTO_FREE char *ready = mem_printf(READY "=%d", pipe_fds[1]);
    AUTO_FREE char **env = environment(inherit, ready);
    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    int status = spawn(upgrade, env, pipe_fds[1]);
    close(pipe_fds[1]);
    upgrade->ready_fd = pipe_fds[0];
    if (status == 0)
        return 0;
    close(upgrade->ready_fd);
    upgrade->ready_fd = -1;
    upgrade->pid = 0;
    return err_set(err, "%s: %s", upgrade->program, strerror(status));
}

void service_upgrade_begin(struct service *service)
{
    struct service_upgrade *upgrade = &service->upgrade;
    const struct service_config *config = config_root(service->config);
    int64_t limit = config->upgrade_ms > 0 ? config->upgrade_ms : LIMIT_MS;
    struct err err = {{0}};
    int result;

    if (upgrade->pid != 0) {
        log_warn("an upgrade is under way already", LOG_INT(PID, upgrade->pid));
        return;
    }
    if (getpid() == 1) { /* its end is the container's */
        log_error("upgrade refused", LOG_STR(REASON, "this is process 1: replace the container"));
        return;
    }
    service_ops_offer(service);
    service->desc->hand_over(service);
    result = access(upgrade->program, X_OK) == 0
                 ? start_program(upgrade, &err)
                 : err_set(&err, "%s: %s", upgrade->program, strerror(errno));
    free_sockets(&upgrade->offered, &upgrade->offered_count, false);
    upgrade->deadline_ms = clock_mono_ms(&clock_system) + limit;
    if (result == 0)
        log_info("upgrade begins", LOG_INT(PID, upgrade->pid), LOG_STR(PATH, upgrade->program));
    else
        log_error("upgrade failed, this process goes on", LOG_STR(ERROR, err.msg));
}

static void give_up(struct service_upgrade *upgrade, const char *why)
{
    int status = 0;
    char how[80] = "";

    kill(upgrade->pid, SIGKILL); /* where it has ended already: nothing; it has accepted nothing */
    if (waitpid(upgrade->pid, &status, 0) == upgrade->pid && WIFEXITED(status))
        snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(how, sizeof(how), "signal %d", WTERMSIG(status));
    log_error("upgrade failed, this process goes on", LOG_INT(PID, upgrade->pid),
              LOG_STR(ERROR, why), LOG_STR(STATE, how));
    close(upgrade->ready_fd);
    upgrade->ready_fd = -1;
    upgrade->pid = 0;
}

static void retire(struct service_upgrade *upgrade)
{
    char state[64];

    upgrade->replaced = true;
    close(upgrade->ready_fd);
    upgrade->ready_fd = -1;
    snprintf(state, sizeof(state), "MAINPID=%d\nREADY=1", (int)upgrade->pid);
    service_notify(state);
    log_info("upgrade done: the new process serves", LOG_INT(PID, upgrade->pid));
}

enum service_upgrade_state service_upgrade_check(struct service *service)
{
    struct service_upgrade *upgrade = &service->upgrade;
    char said;

    if (upgrade->pid == 0)
        return SERVICE_UPGRADE_NONE;
    ssize_t n = read(upgrade->ready_fd, &said, 1);
    if (n == 1) {
        retire(upgrade);
        return SERVICE_UPGRADE_DONE;
    }
    if (n == 0)
        give_up(upgrade, "the new process ended before it was ready; its log says why");
    else if (clock_mono_ms(&clock_system) >= upgrade->deadline_ms)
        give_up(upgrade, "the new process did not become ready in time");
    return upgrade->pid == 0 ? SERVICE_UPGRADE_NONE : SERVICE_UPGRADE_WAITING;
}

void service_upgrade_abandon(struct service *service)
{
    struct service_upgrade *upgrade = &service->upgrade;

    if (upgrade->pid != 0 && !upgrade->replaced)
        give_up(upgrade, "the old process was told to end");
}

void service_upgrade_clear(struct service *service)
{
    struct service_upgrade *upgrade = &service->upgrade;

    free_sockets(&upgrade->inherited, &upgrade->inherited_count, true);
    if (upgrade->tell_fd >= 0)
        close(upgrade->tell_fd);
    free(upgrade->program);
}
