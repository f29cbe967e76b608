/* Apart from the rest, which a program without a log uses, too. */
#include "libcommon/log.h"
#include "libcommon/secret_file.h"

void secret_file_warn(const char *what, const char *path)
{
    if (secret_file_exposed(path))
        log_warn("others may read or change a secret's file: its mode should be 0600",
                 LOG_STR(NAME, what), LOG_STR(PATH, secret_file_name(path)));
}
