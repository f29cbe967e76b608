/* The rooms of the request path. A request walks the list in order; each room it entered is left
 * again, in reverse, on every way out, a vanished client included. A room writes its own member of
 * struct request and reads the earlier ones. Adding a room: one file, one row in room_list. */
#ifndef PROXY_ROOM_H
#define PROXY_ROOM_H

#include <stddef.h>
#include <stdint.h>

struct request;

enum room_result {
    ROOM_NEXT,   /* on to the next room */
    ROOM_WAIT,   /* parked: request_resume() goes on; `leave` must cancel what was waited for */
    ROOM_REJECT, /* request_refuse() was called: the refusal is written */
    ROOM_DONE,   /* the exchange is over (or the room has answered by itself) */
};

enum room_direction { ROOM_INBOUND, ROOM_OUTBOUND }; /* client to origin, origin to client */

enum room_unit { ROOM_MESSAGE, ROOM_EVENT }; /* of a WebSocket, of an event stream */

struct room {
    const char *name; /* metric label */
    enum room_result (*enter)(struct request *request);
    /* After every enter, whatever it returned; once for each. NULL: nothing to release. */
    void (*leave)(struct request *request);
    /* Payload bytes of a body (or tunnel) about to be passed on in this direction, before any
     * framing. data is NULL where they are in a pipe and never come here. Return -1 to end the
     * exchange: request_refuse() was called or the stream is to be cut. NULL: not interested. */
    int (*on_data)(struct request *request, enum room_direction direction, const char *data,
                   size_t len);
    /* `count` units are about to begin, in either direction; the rooms are asked from the last to
     * the first. WAIT (one message at a time): not yet; stream_resume() follows. REJECT:
     * request_refuse() was called, the stream ends before them. NULL: not interested. */
    enum room_result (*on_unit)(struct request *request, enum room_unit unit, uint64_t count);
    /* Now and then while a stream lives. -1: it ends, request_refuse() was called. */
    int (*on_tick)(struct request *request);
};

/* meter, admit, route, auth, graphql, qos, balance, upstream: meter is entered first and left last.
 */
extern const struct room *const room_list[];
extern const size_t room_count;

extern const struct room room_meter, room_admit, room_route, room_auth, room_graphql, room_qos,
    room_balance, room_upstream;

#endif
