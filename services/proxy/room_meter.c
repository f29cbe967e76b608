/* The room around all others: payload bytes go to the journal as they pass, so that an exchange
 * that is cut, or a process that is killed, is counted as far as it came. */
#include "services/proxy/journal_cell.h"
#include "services/proxy/request.h"

static enum room_result enter(struct request *request)
{
    (void)request;
    return ROOM_NEXT;
}

static int on_data(struct request *request, enum room_direction direction, const char *data,
                   size_t len)
{
    struct meter_state *meter = &request->meter;
    (void)data;
    if (direction == ROOM_INBOUND && !meter->marked)
        meter->early_in += len;
    else if (meter->cell)
        journal_cell_add(meter->cell,
                         direction == ROOM_INBOUND ? JOURNAL_BYTES_IN : JOURNAL_BYTES_OUT, len);
    return 0;
}

static enum room_result on_unit(struct request *request, enum room_unit unit, uint64_t count)
{
    if (request->meter.cell)
        journal_cell_add(request->meter.cell,
                         unit == ROOM_MESSAGE ? JOURNAL_MESSAGES : JOURNAL_EVENTS, count);
    return ROOM_NEXT;
}

const struct room room_meter = {
    .name = "meter", .enter = enter, .on_data = on_data, .on_unit = on_unit};
