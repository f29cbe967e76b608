/* The marks: one store each into a cell that outlives the process. */
#include "services/proxy/meter.h"

#include "services/proxy/journal_cell.h"
#include "services/proxy/request.h"

void meter_mark(struct request *request)
{
    struct meter_state *meter = &request->meter;
    if (meter->marked || !meter->cell)
        return;
    meter->marked = true;
    journal_cell_add(meter->cell, JOURNAL_REQUESTS, 1);
    if (meter->early_in)
        journal_cell_add(meter->cell, JOURNAL_BYTES_IN, meter->early_in);
    meter->early_in = 0;
    cost_book(request);
    /* The write to the origin stays behind the count; a kill keeps the order of one thread. */
    atomic_signal_fence(memory_order_seq_cst);
}

void meter_unmark(struct request *request)
{
    struct meter_state *meter = &request->meter;
    if (!meter->marked || !meter->cell)
        return;
    meter->marked = false;
    journal_cell_add(meter->cell, JOURNAL_UNDONE, 1);
    cost_unbook(request);
}
