/* One TLS connection over a socket that does not block. Ciphertext is moved by us: one recv, then
 * everything in it is decrypted; everything to write is encrypted, then one send. So OpenSSL holds
 * nothing that could be read, and never waits for the other direction. Used through io.h. */
#ifndef PROXY_TLS_CONN_H
#define PROXY_TLS_CONN_H

#include "services/proxy/io.h"
#include "services/proxy/tls_origin.h"
#include "services/proxy/tls_server.h"

struct tls_conn;
struct tls_thread;

/* Buffers of a thread, shared by its connections: none keeps anything there between two calls. */
struct tls_thread *tls_thread_new(void);
void tls_thread_free(struct tls_thread **thread);

/* They keep server and origin alive. NULL: out of memory. */
struct tls_conn *tls_conn_accept(struct tls_thread *thread, struct tls_server *server);
struct tls_conn *tls_conn_connect(struct tls_thread *thread, struct tls_origin *origin,
                                  unsigned worker, bool http);
void tls_conn_free(struct tls_conn **conn);

enum tls_step {
    TLS_STEP_READ,  /* waits for the peer */
    TLS_STEP_WRITE, /* waits for writability */
    TLS_STEP_DONE,
    TLS_STEP_FAILED, /* an alert has been tried to be sent; tls_conn_failure() says why */
};

/* Goes on with the handshake as far as it goes; first hands over `early` bytes that were read from
 * the socket already. Done: what came behind the handshake is in buf (IO_READ_MIN at least). */
enum tls_step tls_conn_handshake(struct tls_conn *conn, int fd, const char *early, size_t early_len,
                                 char *buf, size_t len, size_t *got);
/* A word for metrics, from a fixed set, and OpenSSL's own. */
const char *tls_conn_failure(const struct tls_conn *conn, const char **detail);
const SSL *tls_conn_ssl(const struct tls_conn *conn);
/* Of one that we made. */
const struct tls_origin *tls_conn_origin(const struct tls_conn *conn);

/* As in io.h. */
ssize_t tls_conn_read(struct tls_conn *conn, int fd, char *buf, size_t len);
int tls_conn_write(struct tls_conn *conn, int fd, struct io_queue *queue, struct iovec *iov,
                   int count, size_t *written) MUST_USE;
/* close_notify, once. */
int tls_conn_end(struct tls_conn *conn, int fd, struct io_queue *queue) MUST_USE;

#endif
