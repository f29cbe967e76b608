/* quoted's public API: prices, quotes, discovery. docs/openapi/quoted.yaml. */
#ifndef QUOTED_API_H
#define QUOTED_API_H

#include "services/quoted/quoted.h"

int api_start(struct quoted *quoted, struct err *err) MUST_USE;

#endif
