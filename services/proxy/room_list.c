/* The rooms, in order. */
#include "services/proxy/room.h"

#include "libcommon/mem.h"

const struct room *const room_list[] = {
    &room_meter,   &room_admit, &room_route,   &room_auth,
    &room_graphql, &room_qos,   &room_balance, &room_upstream,
};
const size_t room_count = ARRAY_LEN(room_list);
