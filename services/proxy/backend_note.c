/* The one place that counts and logs what happened to a backend. */
#include "services/proxy/backend_note.h"

#include "libcommon/log.h"
#include "services/proxy/stats.h"

void backend_note_change(const struct backend_note *note, const char *what, const char *from,
                         const char *to, int64_t count)
{
    if (note->metrics)
        metric_add(metrics_cell(note->metrics, STATS_BACKEND_CHANGES,
                                (const char *[]){note->pool, what, to}),
                   1);
    log_warn("backend state", LOG_STR(POOL, note->pool), LOG_STR(BACKEND, note->backend),
             LOG_STR(NAME, what), LOG_STR(FROM, from), LOG_STR(STATE, to), LOG_INT(COUNT, count));
}
