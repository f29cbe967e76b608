/* The one place where refusals are written: application/problem+json, with what helps the client to
 * go on. */
#include "services/proxy/exchange.h"

#include <stdio.h>
#include <string.h>

/* Refusals that pass by themselves say when to come back, also where the room did not. */
static int64_t retry_after(const struct request *request, const struct problem_desc *problem)
{
    if (request->retry_after_s > 0)
        return request->retry_after_s;
    return problem->retryable && problem->status == 503 ? 1 : 0;
}

void refusal_write(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    const struct problem_desc *problem = problem_get(request->problem);
    int64_t wait = retry_after(request, problem);
    char lines[320];
    int n = snprintf(lines, sizeof(lines),
                     "Content-Type: application/problem+json\r\nCache-Control: no-store\r\n");
    if (wait > 0)
        n += snprintf(lines + n, sizeof(lines) - (size_t)n, "Retry-After: %lld\r\n",
                      (long long)wait);
    /* As draft-ietf-httpapi-ratelimit-headers has it. */
    if (request->rate > 0)
        n += snprintf(lines + n, sizeof(lines) - (size_t)n,
                      "RateLimit-Policy: \"default\";q=%lld;w=1\r\n"
                      "RateLimit: \"default\";r=0;t=%lld\r\n",
                      (long long)request->rate, (long long)wait);
    AUTO_BUF struct buf body = {.max = 8 * 1024};
    problem_body(&body, request->problem, request->problem_detail, exchange->id_text);
    exchange_answer(exchange, problem->status, h2o_iovec_init(lines, n),
                    h2o_iovec_init(body.data, body.len));
}
