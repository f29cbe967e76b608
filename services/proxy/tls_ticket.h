/* The keys that seal session tickets (RFC 5077, RFC 8446 4.6.1): made here at random, replaced
 * every hour, two old ones kept, shared by all contexts, threads and generations, so that a session
 * outlives a reload. They never leave the process. */
#ifndef PROXY_TLS_TICKET_H
#define PROXY_TLS_TICKET_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#define TLS_TICKET_ROTATE_S 3600
#define TLS_TICKET_KEPT     3 /* keys, the current one included */

struct tls_tickets;

/* now_s: a clock that only goes forward, in seconds. */
struct tls_tickets *tls_tickets_new(int64_t (*now_s)(void));
void tls_tickets_free(struct tls_tickets **tickets);
/* The process's: made when first asked for, and never freed. */
struct tls_tickets *tls_tickets_shared(void);
/* The context seals and opens its tickets with them, from any thread; `tickets` outlives it. */
void tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx);

#endif
