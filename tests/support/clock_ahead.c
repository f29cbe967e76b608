/* Preloaded into a service that a test runs: its wall clock is ahead by CLOCK_AHEAD seconds, its
 * other clocks are right. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *out)
{
    const char *ahead = getenv("CLOCK_AHEAD");
    long rc = syscall(SYS_clock_gettime, id, out);
    if (rc == 0 && id == CLOCK_REALTIME && ahead)
        out->tv_sec += atol(ahead);
    return (int)rc;
}
