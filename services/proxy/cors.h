/* Which pages' scripts may use a route (the CORS protocol of the Fetch standard). Compiled when a
 * configuration is loaded. The proxy alone answers: what an origin says of it is dropped. */
#ifndef PROXY_CORS_H
#define PROXY_CORS_H

#include "services/proxy/header_edit.h"

struct request;
struct cors;

int cors_new(const struct cors_config *config, struct cors **out, struct err *err) MUST_USE;
void cors_free(struct cors **cors);
/* The request is a browser's question whether it may ask. */
bool cors_is_preflight(const struct request *request);
/* Headers of the answer to a preflight, and to any other request, refusals included. */
void cors_answer_preflight(const struct cors *cors, struct request *request);
void cors_answer(const struct cors *cors, struct request *request);
/* Marks what the origin says of it. */
void cors_drop(const struct http1_head *head);

#endif
