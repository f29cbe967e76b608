/* Preloaded into a service that a test runs: while the file that NO_PORTS names is there, no local
 * port is left for a connection over TCP, as connect(2) says of an exhausted ip_local_port_range.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    const char *file = getenv("NO_PORTS");
    if (file && address->sa_family != AF_UNIX && access(file, F_OK) == 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    return (int)syscall(SYS_connect, fd, address, len);
}
