/* The public API: Sign-In, tokens, and what a subscriber may see of a subscription. */
#ifndef SUBD_API_H
#define SUBD_API_H

#include "libcommon/http_server.h"
#include "services/subd/subd.h"

int api_start(struct subd *subd, struct http_server **out, struct err *err) MUST_USE;

#endif
