/* Files that hold a key or a password, as far as every reader of one needs the same: what may be
 * said of their names, and whether their modes keep others out. */
#ifndef LIBCOMMON_SECRET_FILE_H
#define LIBCOMMON_SECRET_FILE_H

#include <stdbool.h>

/* How an error may name it. A path begins with / or . as a rule; anything else may be the secret
 * itself, given where its file was meant, and is not repeated. */
const char *secret_file_name(const char *path);
/* Whether anybody may read it, or anybody but its owner write it. A group that may read it is no
 * exposure: that is how root hands a file to a service. False for "" and what is not there. */
bool secret_file_exposed(const char *path);
/* Warns in the log where it is; `what` is the key of the configuration. */
void secret_file_warn(const char *what, const char *path);

#endif
