/* The rows of adminsvc's configuration file. */
#include "services/adminsvc/settings.h"

#include <stdio.h>
#include <string.h>

#define KEY_MIN 32
#define KEY_MAX 256

static const struct config_field http_fields[] = {
    CONFIG_FIELD(struct settings_http, address, "address", CONFIG_STRING,
                 .fallback = "127.0.0.1:8104",
                 .doc = "host:port of the admin API; never a public address"),
    CONFIG_FIELD(struct settings_http, threads, "threads", CONFIG_INT, .fallback = "4", .min = 1,
                 .max = 64, .doc = "threads that answer requests"),
};
static const struct config_schema http_schema = {
    "http", sizeof(struct settings_http), http_fields, ARRAY_LEN(http_fields), NULL, "address"};

static const struct config_field postgres_fields[] = {
    CONFIG_FIELD(struct settings_postgres, url, "url", CONFIG_STRING, .required = true,
                 .secret = true, .doc = "connection URI of the role octroi_adminsvc"),
    CONFIG_FIELD(struct settings_postgres, sessions, "sessions", CONFIG_INT, .fallback = "6",
                 .min = 2, .max = 100, .doc = "sessions"),
};
static const struct config_schema postgres_schema = {
    "postgres", sizeof(struct settings_postgres), postgres_fields, ARRAY_LEN(postgres_fields), NULL,
    "url"};

static const struct config_field bootstrap_fields[] = {
    CONFIG_FIELD(struct settings_bootstrap, key, "key", CONFIG_STRING, .fallback = "",
                 .secret = true, .doc = "the first owner's key; as a rule ${file:...}"),
    CONFIG_FIELD(struct settings_bootstrap, key_file, "key_file", CONFIG_STRING, .fallback = "",
                 .doc = "file that holds it, where `key` is empty"),
};
static const struct config_schema bootstrap_schema = {"bootstrap",
                                                      sizeof(struct settings_bootstrap),
                                                      bootstrap_fields,
                                                      ARRAY_LEN(bootstrap_fields),
                                                      NULL,
                                                      "key"};

static const struct config_field root_fields[] = {
    SERVICE_CONFIG_FIELDS(struct settings, service, "127.0.0.1:9484"),
    CONFIG_FIELD(struct settings, http, "http", CONFIG_SECTION, .section = &http_schema,
                 .doc = "admin API"),
    CONFIG_FIELD(struct settings, postgres, "postgres", CONFIG_SECTION, .section = &postgres_schema,
                 .required = true, .doc = "the database `octroi`"),
    CONFIG_FIELD(struct settings, nats, "nats", CONFIG_SECTION, .section = &bus_config_schema,
                 .doc = "the bus"),
    CONFIG_FIELD(struct settings, bootstrap, "bootstrap", CONFIG_SECTION,
                 .section = &bootstrap_schema,
                 .doc = "becomes the first owner's key where there is no owner yet"),
    CONFIG_FIELD(struct settings, failures_per_minute, "failures_per_minute", CONFIG_INT,
                 .fallback = "10", .min = 1, .max = 1000,
                 .doc = "wrong keys that a client may send before it is refused for a minute"),
    CONFIG_FIELD(struct settings, timeout_ms, "timeout", CONFIG_DURATION, .fallback = "3s",
                 .min = 50, .max = 30000, .doc = "longest wait for another service's answer"),
};

static int check(void *section, struct err *err)
{
    char *key = NULL;
    if (settings_bootstrap_key(&((const struct settings *)section)->bootstrap, &key, err) != 0)
        return -1;
    if (key != NULL)
        mem_wipe(key, strlen(key));
    free(key);
    return 0;
}

const struct config_schema settings_schema = {
    "adminsvc", sizeof(struct settings), root_fields, ARRAY_LEN(root_fields), check, NULL};

static int check_key(const char *key, struct err *err)
{
    size_t len = strlen(key);
    if (len < KEY_MIN || len >= KEY_MAX)
        return err_set(err, "bootstrap: the key must have %d to %d characters", KEY_MIN,
                       KEY_MAX - 1);
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] >= 127)
            return err_set(err, "bootstrap: the key must be visible ASCII without spaces");
    return 0;
}

static int read_key(const char *path, char text[KEY_MAX + 2], struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, "bootstrap.key_file: %s: %m", path);
    size_t len = fread(text, 1, KEY_MAX + 1, file);
    fclose(file);
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    return 0;
}

int settings_bootstrap_key(const struct settings_bootstrap *bootstrap, char **out, struct err *err)
{
    char text[KEY_MAX + 2] = "";
    *out = NULL;
    if (bootstrap->key[0] == '\0' && bootstrap->key_file[0] == '\0')
        return 0;
    if (bootstrap->key[0] != '\0')
        snprintf(text, sizeof(text), "%s", bootstrap->key);
    else if (read_key(bootstrap->key_file, text, err) != 0)
        return -1;
    int rc = check_key(text, err);
    if (rc == 0)
        *out = mem_strdup(text);
    mem_wipe(text, sizeof(text));
    return rc;
}
