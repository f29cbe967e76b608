/* Reads small secret files into memory that is wiped, and makes the key of them. */
#include "services/payd/signer/key.h"

#include "libcommon/eth/hd.h"
#include "libcommon/eth/keystore.h"
#include "libcommon/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX 1024 /* a password or a mnemonic */

struct secret {
    char text[KEYSTORE_MAX + 1];
    size_t len;
};

static void secret_wipe(struct secret *secret)
{
    mem_wipe(secret, sizeof(*secret));
}

static bool given(const char *path)
{
    return path != NULL && path[0] != '\0';
}

static void close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* A regular file: a pipe would let the start hang. Without NUL bytes, which would end a text. */
static int read_file(const char *path, size_t max, struct secret *out, struct err *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    const char *name = secret_file_name(path);
    struct stat info;
    out->len = 0;
    if (fd < 0 || fstat(fd, &info) != 0)
        return err_set(err, "%.150s: %m", name);
    if (!S_ISREG(info.st_mode))
        return err_set(err, "%.150s: not a regular file", name);
    while (out->len <= max) {
        ssize_t n = read(fd, out->text + out->len, max + 1 - out->len);
        if (n < 0)
            return err_set(err, "%.150s: %m", name);
        if (n == 0)
            break;
        out->len += (size_t)n;
    }
    if (out->len > max)
        return err_set(err, "%.150s: larger than %zu bytes", name, max);
    out->text[out->len] = '\0';
    return memchr(out->text, '\0', out->len) == NULL
               ? 0
               : err_set(err, "%.150s: a NUL byte stands in it", name);
}

/* The newline that an editor puts at the end is no part of a password. */
static int read_password(const char *path, struct secret *out, struct err *err)
{
    if (read_file(path, SECRET_MAX, out, err) != 0)
        return -1;
    if (out->len > 0 && out->text[out->len - 1] == '\n')
        out->text[--out->len] = '\0';
    if (out->len > 0 && out->text[out->len - 1] == '\r')
        out->text[--out->len] = '\0';
    return 0;
}

static int from_keystore(const struct key_files *files, const char *password, struct sign_key **out,
                         struct err *err)
{
    CLEANUP(secret_wipe) struct secret text;
    struct keystore keystore;
    if (read_file(files->keystore, KEYSTORE_MAX, &text, err) != 0 ||
        keystore_parse(text.text, text.len, &keystore, err) != 0)
        return -1;
    return keystore_decrypt(&keystore, password, out, err);
}

static int from_mnemonic(const struct key_files *files, const char *passphrase,
                         struct sign_key **out, struct err *err)
{
    CLEANUP(secret_wipe) struct secret text;
    if (read_file(files->mnemonic_file, SECRET_MAX, &text, err) != 0)
        return -1;
    return hd_key(text.text, passphrase, files->path, out, err);
}

int key_load(const struct key_files *files, struct sign_key **out, struct err *err)
{
    CLEANUP(secret_wipe) struct secret password;
    bool keystore = given(files->keystore);
    password.text[0] = '\0';
    if (keystore == given(files->mnemonic_file))
        return err_set(err, "exactly one of keystore and mnemonic_file is needed");
    if (keystore && !given(files->password_file))
        return err_set(err, "a keystore needs a password_file");
    if (!keystore && !given(files->path))
        return err_set(err, "a mnemonic needs a path");
    if (given(files->password_file) && read_password(files->password_file, &password, err) != 0)
        return -1;
    return keystore ? from_keystore(files, password.text, out, err)
                    : from_mnemonic(files, password.text, out, err);
}
