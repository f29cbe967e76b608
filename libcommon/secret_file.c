/* Exposure is told and not refused: container runtimes hand secrets over with mode 0444 in a
 * directory that nobody else sees. */
#include "libcommon/secret_file.h"

#include <sys/stat.h>

const char *secret_file_name(const char *path)
{
    return path[0] == '/' || path[0] == '.' ? path
                                            : "(a name that does not begin with / or . is not "
                                              "shown: it could be the secret itself)";
}

bool secret_file_exposed(const char *path)
{
    struct stat info;
    return path[0] != '\0' && stat(path, &info) == 0 &&
           (info.st_mode & (S_IWGRP | S_IROTH | S_IWOTH)) != 0;
}
