/* Any bytes as the proxy's configuration: refused with a reason, or compiled whole (pools, routes,
 * header edits, CORS); the same for the variables that stand for one. */
#include "services/proxy/config.h"
#include "services/proxy/env_config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void from_file(const char *text, size_t len)
{
    struct config *config = NULL;
    struct err err = {{0}};
    if (config_parse("fuzz", text, len, &proxy_config_schema, &config, &err) == 0)
        config_free(&config);
    else if (err.msg[0] == '\0' || config)
        abort();
}

/* The same bytes as the values of variables, one a line. */
static void from_environment(const char *text, size_t len)
{
    char *copy = mem_strndup(text, len), *environment[32], *rest = NULL;
    size_t count = 0;
    for (char *line = strtok_r(copy, "\n", &rest); line && count < 20;
         line = strtok_r(NULL, "\n", &rest)) {
        environment[count] =
            mem_printf("%s=%s", env_config_variables[count % ENV_CONFIG_VARIABLES].name, line);
        count++;
    }
    environment[count] = NULL;
    AUTO_BUF struct buf yaml = {0};
    struct err err = {{0}};
    if (env_config_yaml(environment, &yaml, &err) == 0)
        from_file(yaml.data, yaml.len);
    else if (err.msg[0] == '\0')
        abort();
    while (count > 0)
        free(environment[--count]);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    union {
        const uint8_t *bytes;
        const char *text;
    } in = {.bytes = data};

    /* Files of this machine are no part of the input. */
    if (size == 0 || memmem(in.text, size, "file:", 5) || memmem(in.text, size, "/dev/", 5))
        return 0;
    if (in.text[0] == '@')
        from_environment(in.text + 1, size - 1);
    else
        from_file(in.text, size);
    return 0;
}
