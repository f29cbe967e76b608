/* A file is a socket that nobody serves where a connection is refused. */
#include "services/proxy/listener_unix.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MODE 0660 /* the group may connect */

const char *listener_unix_path(const char *address)
{
    static const char scheme[] = "unix:";
    size_t len = sizeof(scheme) - 1;
    return strncmp(address, scheme, len) == 0 ? address + len : NULL;
}

static int set_path(struct sockaddr_un *address, const char *path)
{
    size_t len = strlen(path);
    if (path[0] != '/' || len >= sizeof(address->sun_path))
        return -1;
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len);
    return 0;
}

static bool abandoned(const struct sockaddr_un *address)
{
    struct stat st;
    const void *sa = address;
    if (stat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool refused = connect(fd, sa, sizeof(*address)) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

int listener_unix_bind(const char *path, int *fd, struct err *err)
{
    struct sockaddr_un address;
    const void *sa = &address;
    if (set_path(&address, path))
        return err_set(err, "listener unix:%s: a path from the root, of at most %zu bytes", path,
                       sizeof(address.sun_path) - 1);
    if (abandoned(&address))
        unlink(path);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd >= 0 && bind(*fd, sa, sizeof(address)) == 0 && chmod(path, MODE) == 0)
        return 0;
    err_set(err, "listener unix:%s: %s", path, strerror(errno));
    if (*fd >= 0)
        close(*fd);
    return -1;
}

void listener_unix_clean(const char *path)
{
    struct sockaddr_un address;
    if (set_path(&address, path) == 0 && abandoned(&address))
        unlink(path);
}
