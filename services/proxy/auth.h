/* Who is asking: the access token, and the subscription it stands for in this worker's table. */
#ifndef PROXY_AUTH_H
#define PROXY_AUTH_H

struct request;
struct subscription; /* an entry of the worker's table, referenced while a request holds it */

struct auth_state {
    struct subscription *sub; /* NULL on public routes */
    void *waiting;            /* what a parked request waits for; NULL */
};

#endif
