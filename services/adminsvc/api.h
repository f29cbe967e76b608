/* The admin API: /admin/v1. docs/openapi/admin.yaml. */
#ifndef ADMINSVC_API_H
#define ADMINSVC_API_H

#include "services/adminsvc/adminsvc.h"

int api_start(struct adminsvc *admin, struct err *err) MUST_USE;

#endif
