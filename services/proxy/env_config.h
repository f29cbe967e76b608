/* The configuration that REVERSE_PROXY_* variables alone make: one pool, one route, port 8000. Used
 * where no file is named and none stands at the default place. */
#ifndef PROXY_ENV_CONFIG_H
#define PROXY_ENV_CONFIG_H

#include "libcommon/buf.h"
#include "libcommon/service.h"

/* As a service_desc wants it; reads the process's environment. */
int env_config_load(struct config **out, struct err *err) MUST_USE;
/* The YAML that `environment` (NAME=value, ended by NULL) stands for. Each error names its
 * variable; a variable that is not known is one. */
int env_config_yaml(char *const *environment, struct buf *out, struct err *err) MUST_USE;

#define ENV_CONFIG_VARIABLES 18

/* For the reference page. */
extern const struct service_variable env_config_variables[ENV_CONFIG_VARIABLES];

#endif
