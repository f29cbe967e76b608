/* payd's side of its signer: a process started by posix_spawn (other threads exist already, so
 * nothing may run between fork and exec) and spoken to over a socket pair. The process is not
 * trusted either: what it answers must have the right form, and a signature must be the known
 * address's for the very transaction that was asked for. */
#include "services/payd/signer.h"

#include "libcommon/clock.h"
#include "libcommon/eth/sign.h"
#include "libcommon/log.h"
#include "services/payd/signer/frame.h"
#include "services/payd/signer_spawn.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS    60000
#define SIGN_MS     5000
#define BACKOFF_MIN 250
#define BACKOFF_MAX 30000
#define STEADY_MS                                                                                  \
    60000 /* a process that lived so long is started again without much of a pause                 \
           */

enum state { STATE_DOWN, STATE_STARTING, STATE_UP };

struct signer {
    struct signer_options options; /* its texts are owned */
    enum state state;
    pid_t pid;
    int fd;
    uint32_t last_id;
    bool known; /* the address; a later process must have the same */
    uint8_t address[20];
    int64_t since_ms;   /* of the present state */
    int64_t backoff_ms; /* next pause */
    int64_t pause_ms;   /* of the present STATE_DOWN */
};

static int64_t now_ms(const struct signer *signer)
{
    return clock_mono_ms(signer->options.clock);
}

static void enter(struct signer *signer, enum state state)
{
    signer->state = state;
    signer->since_ms = now_ms(signer);
}

static void tell(const struct signer *signer, bool ok, const char *detail)
{
    if (signer->options.on_health != NULL)
        signer->options.on_health(signer->options.ctx, ok, detail);
}

static int process_start(struct signer *signer, struct err *err)
{
    if (signer_spawn(&signer->options, &signer->pid, &signer->fd, err) != 0)
        return -1;
    enter(signer, STATE_STARTING);
    return 0;
}

/* There is nothing in it that could be lost. How it ended, where it had by itself. */
static int process_end(struct signer *signer)
{
    int status = 0;
    if (signer->state == STATE_DOWN)
        return 0;
    close(signer->fd);
    kill(signer->pid, SIGKILL);
    while (waitpid(signer->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* The process is no more, or no longer wanted. */
static void went_down(struct signer *signer, const char *why)
{
    bool steady = signer->state == STATE_UP && now_ms(signer) - signer->since_ms >= STEADY_MS;
    char detail[600];
    int status = process_end(signer);
    if (WIFSIGNALED(status))
        snprintf(detail, sizeof(detail), "%s (signal %d)", why, WTERMSIG(status));
    else
        snprintf(detail, sizeof(detail), "%s", why);
    if (steady || signer->backoff_ms == 0)
        signer->backoff_ms = BACKOFF_MIN;
    signer->pause_ms = signer->backoff_ms;
    signer->backoff_ms =
        signer->backoff_ms * 2 < BACKOFF_MAX ? signer->backoff_ms * 2 : BACKOFF_MAX;
    enter(signer, STATE_DOWN);
    log_error("the signer is away", LOG_STR(ERROR, detail));
    tell(signer, false, detail);
}

/* Waits for one answer; -1 with the reason why the process is of no use any more. */
static int receive(struct signer *signer, int64_t wait_ms, struct frame_reply *out, struct err *err)
{
    uint8_t packet[FRAME_REPLY + 1];
    int64_t end = now_ms(signer) + wait_ms;
    struct pollfd waiting = {.fd = signer->fd, .events = POLLIN};
    int ready;
    do {
        int64_t left = end - now_ms(signer);
        ready = poll(&waiting, 1, left > 0 ? (int)left : 0);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return err_set(err, "the signer did not answer within %" PRId64 " ms", wait_ms);
    ssize_t len = recv(signer->fd, packet, sizeof(packet), MSG_DONTWAIT);
    if (len == 0 || (len < 0 && errno == ECONNRESET))
        return err_set(err, "the signer process ended");
    if (len < 0)
        return err_set(err, "the signer: %m");
    return frame_read_reply(packet, (size_t)len, out) == 0
               ? 0
               : err_set(err, "the signer sent something malformed");
}

static bool readable(const struct signer *signer)
{
    struct pollfd waiting = {.fd = signer->fd, .events = POLLIN};
    return poll(&waiting, 1, 0) > 0;
}

/* The first packet: an address, or why there is none. */
static int welcome(struct signer *signer, int64_t wait_ms, struct err *err)
{
    struct frame_reply reply;
    if (receive(signer, wait_ms, &reply, err) != 0)
        return -1;
    if (reply.kind == FRAME_FAILED)
        return err_set(err, "the signer could not start: %s", reply.text);
    if (reply.kind != FRAME_READY)
        return err_set(err, "the signer began with an answer to nothing");
    if (signer->known && memcmp(reply.address, signer->address, 20) != 0)
        return err_set(err, "the signer came back with another key: the file was changed");
    memcpy(signer->address, reply.address, 20);
    signer->known = true;
    enter(signer, STATE_UP);
    tell(signer, true, "");
    return 0;
}

static void tick_starting(struct signer *signer)
{
    struct err err = {{0}};
    bool late = now_ms(signer) - signer->since_ms > signer->options.start_ms;
    if (!readable(signer)) {
        if (late)
            went_down(signer, "the signer did not get ready in time");
    } else if (welcome(signer, 0, &err) != 0) {
        went_down(signer, err.msg);
    } else {
        log_info("the signer is back", LOG_INT(PID, signer->pid));
    }
}

bool signer_tick(struct signer *signer)
{
    struct err err = {{0}};
    switch (signer->state) {
    case STATE_UP:
        /* Nothing was asked, so this can only be the end. */
        if (readable(signer))
            went_down(signer, "the signer process ended");
        break;
    case STATE_STARTING:
        tick_starting(signer);
        break;
    case STATE_DOWN:
        if (now_ms(signer) - signer->since_ms >= signer->pause_ms &&
            process_start(signer, &err) != 0)
            went_down(signer, err.msg);
        break;
    }
    return signer->state == STATE_UP;
}

static int checked(const struct signer *signer, const struct eth_tx *tx,
                   const uint8_t signature[65], struct signer_result *result, struct err *err)
{
    struct word digest = tx_digest(tx);
    uint8_t sender[20];
    if (signature[64] < 27 || sign_recover(&digest, signature, 65, sender) != 0 ||
        memcmp(sender, signer->address, 20) != 0)
        return err_set(err, "the signer's signature is not its own for what was asked");
    tx_raw(tx, signature, &result->raw);
    result->hash = tx_hash(&result->raw);
    result->verdict = SIGNER_SIGNED;
    return 0;
}

/* -1 with verdict SIGNER_AWAY: the process is of no use any more. */
static int ask(struct signer *signer, const struct eth_tx *tx, struct signer_result *result,
               struct err *err)
{
    uint8_t packet[FRAME_REQUEST];
    struct frame_reply reply;
    uint32_t id = ++signer->last_id;
    if (frame_write_request(id, tx, packet) != 0) {
        result->verdict = SIGNER_REFUSED;
        return err_set(err, "the signer's policy: the call data is too long");
    }
    if (send(signer->fd, packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL) !=
        (ssize_t)sizeof(packet))
        return err_set(err, "the signer takes no request: %m");
    if (receive(signer, signer->options.sign_ms, &reply, err) != 0)
        return -1;
    switch (reply.id == id ? reply.kind : FRAME_KINDS) {
    case FRAME_SIGNED:
        return checked(signer, tx, reply.signature, result, err);
    case FRAME_REFUSED:
    case FRAME_SPENT:
        result->verdict = reply.kind == FRAME_SPENT ? SIGNER_SPENT : SIGNER_REFUSED;
        return err_set(err, "the signer's policy: %s", reply.text);
    case FRAME_READY:
    case FRAME_FAILED:
    case FRAME_KINDS:
        break;
    }
    return err_set(err, "the signer answered something else than what was asked");
}

int signer_sign(struct signer *signer, const struct eth_tx *tx, struct signer_result *result,
                struct err *err)
{
    *result = (struct signer_result){.verdict = SIGNER_AWAY};
    if (!signer_tick(signer))
        return err_set(err, "the signer is away: it is being started again");
    if (ask(signer, tx, result, err) == 0)
        return 0;
    if (result->verdict == SIGNER_AWAY)
        went_down(signer, err->msg);
    return -1;
}

void signer_result_clear(struct signer_result *result)
{
    buf_free(&result->raw);
}

static const char *copy(const char *text)
{
    return mem_strdup(text == NULL ? "" : text);
}

static void drop(const char *text)
{
    free((char *)(uintptr_t)text);
}

static struct signer *create(const struct signer_options *options)
{
    struct signer *signer = mem_zalloc(sizeof(*signer));
    struct signer_options *own = &signer->options;
    *own = *options;
    own->program = copy(options->program);
    own->keystore = copy(options->keystore);
    own->mnemonic_file = copy(options->mnemonic_file);
    own->password_file = copy(options->password_file);
    own->path = copy(options->path);
    own->user = copy(options->user);
    own->start_ms = options->start_ms > 0 ? options->start_ms : START_MS;
    own->sign_ms = options->sign_ms > 0 ? options->sign_ms : SIGN_MS;
    own->clock = options->clock != NULL ? options->clock : &clock_system;
    return signer;
}

int signer_start(const struct signer_options *options, struct signer **out, struct err *err)
{
    struct signer *signer = create(options);
    if (process_start(signer, err) != 0 || welcome(signer, signer->options.start_ms, err) != 0) {
        signer_stop(&signer);
        return -1;
    }
    *out = signer;
    return 0;
}

void signer_address(const struct signer *signer, uint8_t out[20])
{
    memcpy(out, signer->address, 20);
}

void signer_stop(struct signer **signer)
{
    struct signer *own = *signer;
    if (own == NULL)
        return;
    (void)process_end(own);
    drop(own->options.program);
    drop(own->options.keystore);
    drop(own->options.mnemonic_file);
    drop(own->options.password_file);
    drop(own->options.path);
    drop(own->options.user);
    free(own);
    *signer = NULL;
}
