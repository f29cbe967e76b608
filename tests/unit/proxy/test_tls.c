/* TLS of both sides against each other over a socket pair: the choice of a certificate by name,
 * verification, sessions and the keys of tickets, reads and writes, and every kind of end.
 * Certificates are made here. */
#include "services/proxy/tls_conn.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define BUFFER (64 * 1024)

static char dir[] = "/tmp/octroi-tls-XXXXXX";
static int64_t now_s = 1000;

/* OpenSSL's too: certificates end when a test says. */
static time_t ahead_s;

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time_t result = now.tv_sec + ahead_s;
    if (out)
        *out = result;
    return result;
}

static int64_t clock_s(void)
{
    return now_s;
}

struct files {
    char certificate[64], key[64];
};

static struct tls_authorities *known; /* of origin_of: each file is read once */
static struct files authority, first, second, unnamed, visitor, other_authority;

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static X509 *draft(EVP_PKEY *key, const char *name, const char *names, long lives_s)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), lives_s);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    if (names)
        add_extension(certificate, NID_subject_alt_name, names);
    return certificate;
}

static void save(struct files *files, const char *name, X509 *certificate, EVP_PKEY *key)
{
    snprintf(files->certificate, sizeof(files->certificate), "%s/%s.pem", dir, name);
    snprintf(files->key, sizeof(files->key), "%s/%s.key", dir, name);
    FILE *file = fopen(files->certificate, "w");
    PEM_write_X509(file, certificate);
    fclose(file);
    file = fopen(files->key, "w");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

static void issue(struct files *files, const char *name, const char *names, long lives_s)
{
    FILE *file = fopen(authority.certificate, "r");
    X509 *ca = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    file = fopen(authority.key, "r");
    EVP_PKEY *ca_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = draft(key, name, names, lives_s);
    X509_set_issuer_name(certificate, X509_get_subject_name(ca));
    X509_sign(certificate, ca_key, EVP_sha256());
    save(files, name, certificate, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
}

static void make_authority(struct files *files, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *ca = draft(key, "authority", NULL, 3600);
    add_extension(ca, NID_basic_constraints, "critical,CA:TRUE");
    X509_set_issuer_name(ca, X509_get_subject_name(ca));
    X509_sign(ca, key, EVP_sha256());
    save(files, name, ca, key);
    X509_free(ca);
    EVP_PKEY_free(key);
}

static int make_files(void **state)
{

    const struct {
        struct files *files;
        const char *name, *names;
    } leaves[] = {{&first, "first", "DNS:first.test,DNS:*.wild.test,IP:127.0.0.1"},
                  {&second, "second", "DNS:second.test,DNS:first.test,DNS:exact.wild.test"},
                  {&unnamed, "unnamed.test", NULL}};

    (void)state;
    assert_non_null(mkdtemp(dir));
    make_authority(&authority, "authority");
    make_authority(&other_authority, "other"); /* of the same name, with another key */
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++)
        issue(leaves[i].files, leaves[i].name, leaves[i].names, 3600);
    return 0;
}

static int remove_files(void **state)
{
    const struct files *const all[] = {&authority, &first,   &second,
                                       &unnamed,   &visitor, &other_authority};
    (void)state;
    tls_authorities_free(&known);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        unlink(all[i]->certificate);
        unlink(all[i]->key);
    }
    return rmdir(dir);
}

static struct tls_server *server_with(struct tls_tickets *tickets)
{
    struct certificate_config more[] = {{second.certificate, second.key},
                                        {unnamed.certificate, unnamed.key}};
    struct listener_tls_config config = {.certificate = first.certificate,
                                         .key = first.key,
                                         .certificates = {more, ARRAY_LEN(more)},
                                         .client_ca = ""};
    struct tls_server *server;
    struct err err;
    if (tls_server_new(&config, true, tickets, &server, &err))
        fail_msg("%s", err.msg);
    return server;
}

static struct tls_origin *origin_of(const char *name, const char *ca)
{
    struct backend_tls_config config = {ca, name, "", ""};
    struct tls_origin *origin;
    struct err err;
    if (tls_origin_new(&config, "127.0.0.1", &known, &origin, &err))
        fail_msg("%s", err.msg);
    return origin;
}

static void names(void **state)
{
    const struct {
        const char *name, *expected;
    } rows[] = {
        {"first.test", "first"},
        {"FIRST.test", "first"},
        {"first.test.", "first"},
        {"second.test", "second"},
        {"a.wild.test", "first"},
        {"exact.wild.test", "second"},
        {"a.b.wild.test", "first"},
        {"wild.test", "first"},
        {".wild.test", "first"},
        {"unnamed.test", "unnamed.test"},
        {"x.unnamed.test", "first"},
        {"127.0.0.1", "first"},
        {"", "first"},
        {".", "first"},
        {NULL, "first"},
    };
    struct tls_server *server = server_with(NULL);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char got[64];
        const X509 *certificate = SSL_CTX_get0_certificate(tls_server_choose(server, rows[i].name));
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, got,
                                  sizeof(got));
        if (strcmp(got, rows[i].expected) != 0)
            fail_msg("%s: %s, not %s", rows[i].name, got, rows[i].expected);
    }
    tls_server_unref(&server);
}

static void bad_files(void **state)
{
    const struct {
        const char *certificate, *key, *expected;
    } rows[] = {
        {"/nowhere.pem", first.key, "certificate: /nowhere.pem: No such file or directory"},
        {first.certificate, "/nowhere.key", "key: /nowhere.key: No such file or directory"},
        {first.key, first.key, "certificate: "},
        {first.certificate, second.key, "key: "},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listener_tls_config config = {
            .certificate = rows[i].certificate, .key = rows[i].key, .client_ca = ""};
        struct tls_server *server;
        struct err err;
        assert_int_equal(tls_server_new(&config, true, NULL, &server, &err), -1);
        assert_null(server);
        if (strncmp(err.msg, rows[i].expected, strlen(rows[i].expected)) != 0)
            fail_msg("%s", err.msg);
    }
}

/* Two ends of one connection, each with a thread's buffers of its own. */
struct pair {
    struct io client, server;
    struct tls_thread *threads[2];
    struct io_queue client_out, server_out;
    char *buf;
};

static enum tls_step step(struct io *io, char *buf)
{
    size_t got;
    enum tls_step result = tls_conn_handshake(io->tls, io->fd, NULL, 0, buf, BUFFER, &got);
    assert_int_equal(got, 0);
    return result;
}

/* True: both are done. */
static bool shake(struct pair *pair)
{
    enum tls_step client = TLS_STEP_READ, server = TLS_STEP_READ;
    for (unsigned i = 0; i < 10; i++) {
        if (client == TLS_STEP_READ)
            client = step(&pair->client, pair->buf);
        if (server == TLS_STEP_READ)
            server = step(&pair->server, pair->buf);
    }
    return client == TLS_STEP_DONE && server == TLS_STEP_DONE;
}

static void pair_open(struct pair *pair, struct tls_server *server, struct tls_origin *origin)
{
    int fds[2];
    memset(pair, 0, sizeof(*pair));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    pair->buf = mem_alloc(BUFFER);
    pair->threads[0] = tls_thread_new();
    pair->threads[1] = tls_thread_new();
    pair->client =
        (struct io){.fd = fds[0], .tls = tls_conn_connect(pair->threads[0], origin, 0, true)};
    pair->server = (struct io){.fd = fds[1], .tls = tls_conn_accept(pair->threads[1], server)};
}

static void pair_close(struct pair *pair)
{
    io_close(&pair->client);
    io_close(&pair->server);
    io_queue_free(&pair->client_out);
    io_queue_free(&pair->server_out);
    tls_thread_free(&pair->threads[0]);
    tls_thread_free(&pair->threads[1]);
    free(pair->buf);
}

struct fixture {
    struct tls_tickets *tickets;
    struct tls_server *server;
    struct tls_origin *origin;
    struct pair pair;
};

static void setup(struct fixture *fixture)
{
    fixture->tickets = tls_tickets_new(clock_s);
    fixture->server = server_with(fixture->tickets);
    fixture->origin = origin_of("first.test", authority.certificate);
}

static void connected(struct fixture *fixture)
{
    setup(fixture);
    pair_open(&fixture->pair, fixture->server, fixture->origin);
    assert_true(shake(&fixture->pair));
}

static void teardown(struct fixture *fixture)
{
    tls_server_unref(&fixture->server);
    tls_origin_unref(&fixture->origin);
    tls_tickets_free(&fixture->tickets);
}

static void write_all(struct io *io, struct io_queue *queue, const char *data, size_t len)
{
    union {
        const char *in;
        char *out;
    } base = {.in = data};
    struct iovec iov[2] = {{base.out, len / 3}, {base.out + len / 3, len - len / 3}};
    assert_int_equal(io_write(io, queue, iov, 2, NULL), 0);
}

/* Bytes pass whole and in order, whatever sizes they come in, also where the socket takes only
 * some. */
static void bytes_pass(void **state)
{
    static const size_t sizes[] = {1, 2, 100, 16383, 16384, 16385, 50000, 400000};
    struct fixture fixture;
    AUTO_FREE char *data = mem_alloc(400000);
    AUTO_FREE char *got = mem_alloc(400000);
    (void)state;
    connected(&fixture);
    for (size_t i = 0; i < 400000; i++)
        data[i] = (char)(i * 7 + i / 251);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t len = 0;
        write_all(&fixture.pair.server, &fixture.pair.server_out, data, sizes[i]);
        while (len < sizes[i]) {
            ssize_t n = io_read(&fixture.pair.client, fixture.pair.buf, BUFFER);
            assert_true(n == IO_AGAIN || n > 0);
            if (n > 0) {
                assert_true(len + (size_t)n <= sizes[i]);
                memcpy(got + len, fixture.pair.buf, (size_t)n);
                len += (size_t)n;
            }
            assert_int_equal(io_flush(&fixture.pair.server, &fixture.pair.server_out), 0);
        }
        assert_memory_equal(got, data, sizes[i]);
        /* What the socket says is the truth: nothing is held back. */
        assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER), IO_AGAIN);
    }
    pair_close(&fixture.pair);
    teardown(&fixture);
}

/* With the smallest buffer that callers may have, a record begun before and more behind it fit. */
static void small_buffers_hold_whole_records(void **state)
{
    struct fixture fixture;
    AUTO_FREE char *data = mem_zalloc(200000);
    size_t len = 0;
    (void)state;
    connected(&fixture);
    write_all(&fixture.pair.server, &fixture.pair.server_out, data, 200000);
    while (len < 200000) {
        ssize_t n = io_read(&fixture.pair.client, fixture.pair.buf, IO_READ_MIN);
        if (n == IO_AGAIN)
            assert_int_equal(io_flush(&fixture.pair.server, &fixture.pair.server_out), 0);
        else
            assert_in_range(n, 1, IO_READ_MIN);
        len += n > 0 ? (size_t)n : 0;
    }
    pair_close(&fixture.pair);
    teardown(&fixture);
}

/* An announced end is 0, with data before it; one that is not is an error. */
static void ends(void **state)
{
    struct fixture fixture;
    (void)state;
    for (int announced = 0; announced < 2; announced++) {
        connected(&fixture);
        write_all(&fixture.pair.server, &fixture.pair.server_out, "last words", 10);
        if (announced)
            assert_int_equal(io_end(&fixture.pair.server, &fixture.pair.server_out), 0);
        shutdown(fixture.pair.server.fd, SHUT_WR);
        assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER), 10);
        assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER),
                         announced ? 0 : -1);
        pair_close(&fixture.pair);
        teardown(&fixture);
    }
}

/* The peer may leave TCP open after its close_notify: readiness has to come all the same. */
static void an_announced_end_is_readable(void **state)
{
    struct fixture fixture;
    char byte;
    (void)state;
    connected(&fixture);
    write_all(&fixture.pair.server, &fixture.pair.server_out, "last words", 10);
    io_close_idle(&fixture.pair.server);
    fixture.pair.server.fd = -1;
    assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER), 10);
    assert_int_equal(recv(fixture.pair.client.fd, &byte, 1, MSG_PEEK), 0);
    assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER), 0);
    pair_close(&fixture.pair);
    teardown(&fixture);
}

/* A record that was changed on the way ends the connection. */
static void tampering_is_an_error(void **state)
{
    struct fixture fixture;
    char record[64] = {23, 3, 3, 0, 40};
    (void)state;
    connected(&fixture);
    assert_int_equal(send(fixture.pair.server.fd, record, 45, 0), 45);
    assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER), -1);
    assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER), -1);
    pair_close(&fixture.pair);
    teardown(&fixture);
}

static void update_keys(struct pair *pair)
{
    union {
        const SSL *in;
        SSL *out;
    } ssl = {.in = tls_conn_ssl(pair->client.tls)};

    assert_int_equal(SSL_key_update(ssl.out, SSL_KEY_UPDATE_REQUESTED), 1);
    write_all(&pair->client, &pair->client_out, "x", 1);
}

/* One update of keys is answered and goes on; a flood of them is ended. */
static void key_updates_are_bounded(void **state)
{
    struct fixture fixture;
    struct pair *pair = &fixture.pair;
    ssize_t n = 1;
    unsigned count = 0;
    (void)state;
    connected(&fixture);
    update_keys(pair);
    assert_int_equal(io_read(&pair->server, pair->buf, BUFFER), 1);
    write_all(&pair->server, &pair->server_out, "answer", 6);
    assert_int_equal(io_read(&pair->client, pair->buf, BUFFER), 6);
    for (; n == 1 && count < 10000; count++) {
        update_keys(pair);
        n = io_read(&pair->server, pair->buf, BUFFER);
    }
    assert_int_equal(n, -1);
    assert_in_range(count, 10, 200);
    pair_close(pair);
    teardown(&fixture);
}

static void verification(void **state)
{
    const struct {
        const char *name, *ca;
        bool good;
    } rows[] = {
        {"first.test", authority.certificate, true},
        {"a.wild.test", authority.certificate, true},
        {"", authority.certificate, true}, /* by its address */
        {"127.0.0.2", authority.certificate, false},
        {"unknown.test", authority.certificate, false},
        {"a.b.wild.test", authority.certificate, false},
        {"first.test", second.certificate, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_server *server = server_with(NULL);
        struct tls_origin *origin = origin_of(rows[i].name, rows[i].ca);
        struct pair pair;
        const char *detail;
        pair_open(&pair, server, origin);
        if (shake(&pair) != rows[i].good)
            fail_msg("%s", rows[i].name);
        if (!rows[i].good)
            assert_string_equal(tls_conn_failure(pair.client.tls, &detail), "certificate");
        pair_close(&pair);
        tls_server_unref(&server);
        tls_origin_unref(&origin);
    }
}

/* Whether a connection at this time resumes the session of the one before. */
static bool resumed(struct fixture *fixture, int64_t after_s)
{
    struct pair pair;
    now_s += after_s;
    pair_open(&pair, fixture->server, fixture->origin);
    assert_true(shake(&pair));
    /* The ticket comes behind the handshake. */
    write_all(&pair.server, &pair.server_out, "x", 1);
    assert_int_equal(io_read(&pair.client, pair.buf, BUFFER), 1);
    bool result = SSL_session_reused(tls_conn_ssl(pair.client.tls));
    assert_int_equal(result, SSL_session_reused(tls_conn_ssl(pair.server.tls)));
    pair_close(&pair);
    return result;
}

static void tickets_live_for_three_keys(void **state)
{
    struct fixture fixture;
    (void)state;
    setup(&fixture);
    assert_false(resumed(&fixture, 0));
    assert_true(resumed(&fixture, 1));
    assert_true(resumed(&fixture, TLS_TICKET_ROTATE_S));
    assert_true(resumed(&fixture, TLS_TICKET_ROTATE_S * 2 - 1));
    assert_false(resumed(&fixture, TLS_TICKET_ROTATE_S * TLS_TICKET_KEPT));
    assert_true(resumed(&fixture, 0));
    teardown(&fixture);
}

/* As at a reload: another context, the same keys. */
static void tickets_outlive_their_context(void **state)
{
    struct fixture fixture;
    (void)state;
    setup(&fixture);
    assert_false(resumed(&fixture, 0));
    tls_server_unref(&fixture.server);
    fixture.server = server_with(fixture.tickets);
    assert_true(resumed(&fixture, 0));
    struct tls_tickets *others = tls_tickets_new(clock_s);
    tls_server_unref(&fixture.server);
    fixture.server = server_with(others);
    assert_false(resumed(&fixture, 0));
    teardown(&fixture);
    tls_tickets_free(&others);
}

static struct tls_server *asking_server(struct tls_tickets *tickets, const char *client_ca)
{
    struct listener_tls_config config = {.certificate = first.certificate,
                                         .key = first.key,
                                         .client_auth = CLIENT_AUTH_OPTIONAL,
                                         .client_ca = client_ca};
    struct tls_server *server;
    struct err err;
    if (tls_server_new(&config, true, tickets, &server, &err))
        fail_msg("%s", err.msg);
    return server;
}

static void setup_visit(struct fixture *fixture, const char *client_ca)
{
    struct backend_tls_config config = {authority.certificate, "first.test", visitor.certificate,
                                        visitor.key};
    struct err err;
    fixture->tickets = tls_tickets_new(clock_s);
    fixture->server = asking_server(fixture->tickets, client_ca);
    if (tls_origin_new(&config, "127.0.0.1", &known, &fixture->origin, &err))
        fail_msg("%s", err.msg);
}

static void copy_file(const char *from, const char *to)
{
    char text[4096];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    fwrite(text, 1, fread(text, 1, sizeof(text), in), out);
    fclose(in);
    fclose(out);
}

/* What was verified for one is so for another that is the same by content, not by the names of its
 * files. */
static void an_origin_is_what_its_files_say(void **state)
{
    char changing[64];
    (void)state;
    snprintf(changing, sizeof(changing), "%s/changing.pem", dir);
    copy_file(authority.certificate, changing);
    struct tls_origin *origins[] = {origin_of("first.test", authority.certificate),
                                    origin_of("first.test", authority.certificate),
                                    origin_of("second.test", authority.certificate),
                                    origin_of("first.test", other_authority.certificate),
                                    origin_of("first.test", changing),
                                    NULL,
                                    NULL};
    copy_file(other_authority.certificate, changing);
    origins[5] = origin_of("first.test", changing); /* it is not read twice */
    tls_authorities_free(&known);                   /* as a reload begins */
    origins[6] = origin_of("first.test", changing);
    unlink(changing);
    const bool same[] = {true, true, false, false, true, true, false};
    for (size_t i = 0; i < ARRAY_LEN(origins); i++)
        assert_int_equal(tls_origin_same(origins[0], origins[i]), same[i]);
    assert_true(tls_origin_same(origins[3], origins[6]));
    assert_false(tls_origin_same(origins[0], NULL));
    assert_true(tls_origin_same(NULL, NULL));
    for (size_t i = 0; i < ARRAY_LEN(origins); i++)
        tls_origin_unref(&origins[i]);
}

/* A reload with another authority in the same file: the session would let in whom it does not
 * trust. */
static void a_session_is_none_of_other_authorities(void **state)
{
    struct fixture fixture;
    struct pair pair;
    char path[64];
    (void)state;
    snprintf(path, sizeof(path), "%s/clients.pem", dir);
    issue(&visitor, "visitor", NULL, 3600);
    copy_file(authority.certificate, path);
    setup_visit(&fixture, path);
    assert_false(resumed(&fixture, 0));
    assert_true(resumed(&fixture, 0));
    tls_server_unref(&fixture.server);
    fixture.server = asking_server(fixture.tickets, path);
    assert_true(resumed(&fixture, 0));
    copy_file(other_authority.certificate, path);
    tls_server_unref(&fixture.server);
    fixture.server = asking_server(fixture.tickets, path);
    pair_open(&pair, fixture.server, fixture.origin);
    assert_false(shake(&pair));
    pair_close(&pair);
    unlink(path);
    teardown(&fixture);
}

/* Whoever comes back each day would be let in for good. */
static void a_session_ends_with_its_certificate(void **state)
{
    struct fixture fixture;
    struct pair pair;
    (void)state;
    issue(&visitor, "visitor", NULL, 1000);
    setup_visit(&fixture, authority.certificate);
    assert_false(resumed(&fixture, 0));
    ahead_s = 500;
    assert_true(resumed(&fixture, 0));
    ahead_s = 1001;
    pair_open(&pair, fixture.server, fixture.origin);
    assert_false(shake(&pair));
    pair_close(&pair);
    teardown(&fixture);
    ahead_s = 0;
}

/* The configuration is gone, the connection is not. */
static void a_connection_keeps_its_context(void **state)
{
    struct fixture fixture;
    (void)state;
    setup(&fixture);
    pair_open(&fixture.pair, fixture.server, fixture.origin);
    tls_server_unref(&fixture.server);
    tls_origin_unref(&fixture.origin);
    assert_true(shake(&fixture.pair));
    write_all(&fixture.pair.server, &fixture.pair.server_out, "still here", 10);
    assert_int_equal(io_read(&fixture.pair.client, fixture.pair.buf, BUFFER), 10);
    pair_close(&fixture.pair);
    teardown(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(bytes_pass),
        cmocka_unit_test(small_buffers_hold_whole_records),
        cmocka_unit_test(ends),
        cmocka_unit_test(an_announced_end_is_readable),
        cmocka_unit_test(tampering_is_an_error),
        cmocka_unit_test(key_updates_are_bounded),
        cmocka_unit_test(verification),
        cmocka_unit_test(an_origin_is_what_its_files_say),
        cmocka_unit_test(tickets_live_for_three_keys),
        cmocka_unit_test(tickets_outlive_their_context),
        cmocka_unit_test(a_session_is_none_of_other_authorities),
        cmocka_unit_test(a_session_ends_with_its_certificate),
        cmocka_unit_test(a_connection_keeps_its_context),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
