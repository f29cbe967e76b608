/* OpenSSL reads from and writes to memory of the thread (a BIO of our own), so its reads of 5 bytes
 * are no system calls and a response is one packet train. A read takes so little ciphertext that
 * what it decrypts to, with the record that was begun before, fits the caller's buffer. */
#include "services/proxy/tls_conn.h"

#include "libcommon/mem.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD       SSL3_RT_MAX_PLAIN_LENGTH
#define READ_MAX     (48 * 1024)
#define PENDING_MAX  (64 * 1024) /* answers to the peer's handshake messages that wait */
#define MESSAGES_MAX 128         /* key updates and the like after the handshake */

struct tls_thread {
    char in[READ_MAX];
    const char *at;
    size_t left; /* of what was received */
    struct io_queue out;
    char record[RECORD]; /* small pieces, put together */
};

struct tls_conn {
    SSL *ssl;
    struct tls_thread *thread;
    struct tls_server *server; /* of an accepted one */
    struct tls_origin *origin; /* of one that we made */
    struct io_queue pending;   /* ciphertext that belongs before anything written later */
    unsigned worker;
    unsigned messages;
    bool established, failed;
    const char *failure, *detail;
};

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int on_bio_read(BIO *bio, char *buf, int len)
{
    struct tls_conn *conn = BIO_get_data(bio);
    struct tls_thread *thread = conn->thread;
    size_t n = thread->left < (size_t)len ? thread->left : (size_t)len;
    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(buf, thread->at, n);
    thread->at += n;
    thread->left -= n;
    return (int)n;
}

static int on_bio_write(BIO *bio, const char *data, int len)
{
    struct tls_conn *conn = BIO_get_data(bio);
    io_queue_add(&conn->thread->out, data, (size_t)len);
    return len;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *data)
{
    (void)bio;
    (void)number;
    (void)data;
    return command == BIO_CTRL_FLUSH;
}

static int on_bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "octroi");
    assert(method);
    BIO_meth_set_read(method, on_bio_read);
    BIO_meth_set_write(method, on_bio_write);
    BIO_meth_set_ctrl(method, on_bio_ctrl);
    BIO_meth_set_create(method, on_bio_create);
}

struct tls_thread *tls_thread_new(void)
{
    pthread_once(&method_once, make_method);
    return mem_zalloc(sizeof(struct tls_thread));
}

void tls_thread_free(struct tls_thread **thread)
{
    if (!*thread)
        return;
    io_queue_free(&(*thread)->out);
    free(*thread);
    *thread = NULL;
}

/* Counts what a peer may send without end at our cost: key updates, requests to renegotiate. */
static void on_message(int writing, int version, int type, const void *data, size_t len, SSL *ssl,
                       void *arg)
{
    struct tls_conn *conn = arg;
    (void)version;
    (void)data;
    (void)len;
    (void)ssl;
    if (!writing && type == SSL3_RT_HANDSHAKE && conn->established)
        conn->messages++;
}

/* Takes the SSL over; NULL goes through. */
static struct tls_conn *conn_new(struct tls_thread *thread, SSL *ssl)
{
    BIO *bio = ssl ? BIO_new(method) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return NULL;
    }
    struct tls_conn *conn = mem_zalloc(sizeof(*conn));
    conn->thread = thread;
    conn->ssl = ssl;
    BIO_set_data(bio, conn);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, conn);
    return conn;
}

struct tls_conn *tls_conn_accept(struct tls_thread *thread, struct tls_server *server)
{
    SSL *ssl = SSL_new(tls_server_context(server));
    struct tls_conn *conn = conn_new(thread, ssl);
    if (!conn)
        return NULL;
    SSL_set_accept_state(ssl);
    conn->server = tls_server_ref(server);
    return conn;
}

struct tls_conn *tls_conn_connect(struct tls_thread *thread, struct tls_origin *origin,
                                  unsigned worker, bool http)
{
    struct tls_conn *conn = conn_new(thread, tls_origin_ssl(origin, worker, http));
    if (!conn)
        return NULL;
    conn->origin = tls_origin_ref(origin);
    conn->worker = worker;
    return conn;
}

void tls_conn_free(struct tls_conn **conn)
{
    if (!*conn)
        return;
    /* What is told to nobody any more: else OpenSSL would call a session bad for it. */
    SSL_set_shutdown((*conn)->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free((*conn)->ssl);
    io_queue_free(&(*conn)->pending);
    tls_server_unref(&(*conn)->server);
    tls_origin_unref(&(*conn)->origin);
    free(*conn);
    *conn = NULL;
}

const SSL *tls_conn_ssl(const struct tls_conn *conn)
{
    return conn->ssl;
}

const struct tls_origin *tls_conn_origin(const struct tls_conn *conn)
{
    return conn->origin;
}

/* What OpenSSL has written. */
static struct iovec written_by(struct tls_thread *thread)
{
    return (struct iovec){thread->out.data, thread->out.len};
}

static void keep_pending(struct tls_conn *conn)
{
    struct io_queue *out = &conn->thread->out;
    io_queue_add(&conn->pending, out->data, out->len);
    out->len = 0;
}

/* -2 on no data now. */
static ssize_t receive(struct tls_thread *thread, int fd, size_t len)
{
    ssize_t n;
    do
        n = recv(fd, thread->in, len < READ_MAX ? len : READ_MAX, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? IO_AGAIN : -1;
    thread->at = thread->in;
    thread->left = (size_t)n;
    return n;
}

static int decrypt(struct tls_conn *conn, char *buf, size_t len, size_t *got)
{
    size_t n;
    *got = 0;
    ERR_clear_error();
    while (*got < len && SSL_read_ex(conn->ssl, buf + *got, len - *got, &n) == 1)
        *got += n;
    conn->thread->left = 0;
    if (conn->thread->out.len)
        keep_pending(conn);
    if (conn->messages > MESSAGES_MAX || conn->pending.len > PENDING_MAX)
        return -1;
    int error = SSL_get_error(conn->ssl, 0);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static bool ended(const struct tls_conn *conn)
{
    return SSL_get_shutdown(conn->ssl) & SSL_RECEIVED_SHUTDOWN;
}

ssize_t tls_conn_read(struct tls_conn *conn, int fd, char *buf, size_t len)
{
    size_t got;
    if (conn->failed)
        return -1;
    if (ended(conn))
        return 0;
    ssize_t n = receive(conn->thread, fd, len - RECORD);
    if (n == IO_AGAIN)
        return IO_AGAIN;
    if (n <= 0 || decrypt(conn, buf, len, &got)) {
        conn->failed = true;
        ERR_clear_error();
        return -1;
    }
    if (!ended(conn))
        return got ? (ssize_t)got : IO_AGAIN;
    /* The socket becomes readable once more, for the end. */
    if (got)
        shutdown(fd, SHUT_RD);
    return (ssize_t)got;
}

static int encrypt(struct tls_conn *conn, const char *data, size_t len)
{
    size_t n;
    if (len == 0)
        return 0;
    return SSL_write_ex(conn->ssl, data, len, &n) == 1 && n == len ? 0 : -1;
}

/* Whole records go as they are; what is smaller is put together first. */
static int encrypt_all(struct tls_conn *conn, const struct iovec *iov, int count)
{
    char *record = conn->thread->record;
    size_t filled = 0;
    for (int i = 0; i < count; i++) {
        const char *at = iov[i].iov_base;
        size_t left = iov[i].iov_len;
        while (left) {
            size_t n = left < RECORD - filled ? left : RECORD - filled;
            if (filled || n < RECORD) {
                memcpy(record + filled, at, n);
                filled += n;
            } else if (encrypt(conn, at, n)) {
                return -1;
            }
            at += n;
            left -= n;
            if (filled == RECORD) {
                if (encrypt(conn, record, filled))
                    return -1;
                filled = 0;
            }
        }
    }
    return encrypt(conn, record, filled);
}

static int send_out(struct tls_conn *conn, int fd, struct io_queue *queue, size_t *written)
{
    struct io_queue *out = &conn->thread->out;
    struct iovec iov = written_by(conn->thread);
    int result = io_send(fd, queue, &iov, 1, written);
    out->len = 0;
    return result;
}

static void begin_write(struct tls_conn *conn)
{
    struct io_queue *out = &conn->thread->out;
    ERR_clear_error();
    out->len = 0;
    if (conn->pending.len) {
        io_queue_add(out, conn->pending.data + conn->pending.at, conn->pending.len);
        io_queue_free(&conn->pending);
    }
}

int tls_conn_write(struct tls_conn *conn, int fd, struct io_queue *queue, struct iovec *iov,
                   int count, size_t *written)
{
    if (conn->failed)
        return -1;
    begin_write(conn);
    if (encrypt_all(conn, iov, count)) {
        conn->failed = true;
        ERR_clear_error();
        return -1;
    }
    return send_out(conn, fd, queue, written);
}

int tls_conn_end(struct tls_conn *conn, int fd, struct io_queue *queue)
{
    if (conn->failed)
        return -1;
    if (SSL_get_shutdown(conn->ssl) & SSL_SENT_SHUTDOWN)
        return 0;
    begin_write(conn);
    SSL_shutdown(conn->ssl);
    ERR_clear_error();
    return send_out(conn, fd, queue, NULL);
}

static const char *classify(unsigned long code, const struct tls_conn *conn)
{
    if (ERR_GET_LIB(code) != ERR_LIB_SSL)
        return "other";
    switch (ERR_GET_REASON(code)) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "certificate";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return "unsupported";
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
        return "not_tls";
    default:
        return ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET ? "alert"
               : conn->failure                              ? conn->failure
                                                            : "other";
    }
}

static enum tls_step fail(struct tls_conn *conn, const char *failure, const char *detail)
{
    conn->failed = true;
    conn->failure = failure;
    conn->detail = detail;
    conn->thread->left = 0;
    if (conn->origin)
        tls_origin_forget(conn->origin, conn->worker);
    ERR_clear_error();
    return TLS_STEP_FAILED;
}

/* The first error names the cause; what is above it in the stack follows from it. */
static enum tls_step fail_by_openssl(struct tls_conn *conn, int fd)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    long verified = SSL_get_verify_result(conn->ssl);
    if (verified != X509_V_OK)
        reason = X509_verify_cert_error_string(verified);
    if (send_out(conn, fd, &conn->pending, NULL))
        return fail(conn, "closed", "the connection broke");
    return fail(conn, classify(code, conn), reason ? reason : "the handshake failed");
}

static enum tls_step flush(struct tls_conn *conn, int fd)
{
    struct io_queue *pending = &conn->pending;
    if (conn->thread->out.len && send_out(conn, fd, pending, NULL))
        return fail(conn, "closed", "the connection broke");
    return pending->len ? TLS_STEP_WRITE : TLS_STEP_READ;
}

/* What the peer sent behind its last handshake message, in the same packet. */
static enum tls_step finish(struct tls_conn *conn, int fd, char *buf, size_t len, size_t *got)
{
    enum tls_step step = flush(conn, fd);
    if (step == TLS_STEP_FAILED)
        return step;
    conn->established = true;
    if (decrypt(conn, buf, len, got))
        return fail_by_openssl(conn, fd);
    if (ended(conn))
        shutdown(fd, SHUT_RD);
    return conn->pending.len ? TLS_STEP_WRITE : TLS_STEP_DONE;
}

static enum tls_step advance(struct tls_conn *conn, int fd, char *buf, size_t len, size_t *got)
{
    ERR_clear_error();
    int result = SSL_do_handshake(conn->ssl);
    if (result == 1)
        return finish(conn, fd, buf, len, got);
    if (SSL_get_error(conn->ssl, result) != SSL_ERROR_WANT_READ)
        return fail_by_openssl(conn, fd);
    return flush(conn, fd);
}

enum tls_step tls_conn_handshake(struct tls_conn *conn, int fd, const char *early, size_t early_len,
                                 char *buf, size_t len, size_t *got)
{
    struct tls_thread *thread = conn->thread;
    struct io io = {.fd = fd};
    *got = 0;
    thread->left = 0;
    thread->out.len = 0;
    if (conn->pending.len) {
        if (io_flush(&io, &conn->pending))
            return fail(conn, "closed", "the connection broke");
        return conn->pending.len   ? TLS_STEP_WRITE
               : conn->established ? TLS_STEP_DONE
                                   : TLS_STEP_READ;
    }
    if (early_len) {
        assert(early_len <= READ_MAX);
        memcpy(thread->in, early, early_len);
        thread->at = thread->in;
        thread->left = early_len;
    } else if (!(conn->origin && SSL_in_before(conn->ssl))) {
        ssize_t n = receive(thread, fd, RECORD);
        if (n == IO_AGAIN)
            return TLS_STEP_READ;
        if (n <= 0)
            return fail(conn, "closed", "the peer closed in the middle of the handshake");
    }
    return advance(conn, fd, buf, len, got);
}

const char *tls_conn_failure(const struct tls_conn *conn, const char **detail)
{
    *detail = conn->detail;
    return conn->failure;
}
