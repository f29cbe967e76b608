/* Handlers of /token; rows of the table in api.c. */
#ifndef SUBD_API_TOKEN_H
#define SUBD_API_TOKEN_H

#include "libcommon/http_server.h"

void api_token_challenge(struct http_request *request, void *subd);
void api_token_issue(struct http_request *request, void *subd);
void api_token_refresh(struct http_request *request, void *subd);

#endif
