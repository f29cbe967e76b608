/* Pages for secrets by mmap and not from the heap: a lock and MADV_DONTDUMP are a page's, and what
 * the heap keeps beside a secret is somebody else's. */
#include "libcommon/secret_memory.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

void *secret_memory_new(size_t size)
{
    void *secret =
        mmap(NULL, whole_pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret == MAP_FAILED)
        abort();
    return secret;
}

void secret_memory_free(void *secret, size_t size)
{
    if (secret == NULL)
        return;
    mem_wipe(secret, size);
    munmap(secret, whole_pages(size));
}

int secret_memory_undumpable(struct err *err)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : err_set(err, "PR_SET_DUMPABLE: %m");
}

int secret_memory_lock(void *secret, size_t size, struct err *err)
{
    if (secret_memory_undumpable(err) != 0)
        return -1;
    if (madvise(secret, whole_pages(size), MADV_DONTDUMP) != 0)
        return err_set(err, "cannot keep the key out of core dumps: %m");
    if (mlock(secret, size) != 0)
        return err_set(err, "cannot keep the key in memory (RLIMIT_MEMLOCK too small?): %m");
    return 0;
}
