/* A registry made of one table; exposition in the Prometheus text format 0.0.4. Cells are written
 * with relaxed atomics; metrics_local gives a cell of its own to a thread that writes hot, summed
 * with the others when read. Label values must come from a bounded set: each metric takes at most
 * METRICS_MAX_SERIES, what is over goes to "other". */
#ifndef LIBCOMMON_METRICS_H
#define LIBCOMMON_METRICS_H

#include "libcommon/buf.h"

#define METRICS_MAX_SERIES 2048
#define METRICS_MAX_LABELS 4

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_desc {
    const char *name; /* octroi_<service>_<what>_<unit> */
    enum metric_kind kind;
    const char *help;
    const char *labels[METRICS_MAX_LABELS + 1]; /* NULL-terminated */
    const double *
        buckets; /* histogram: upper bounds, ascending, ended by 0; NULL: metrics_latency_buckets */
};

extern const double metrics_latency_buckets[]; /* seconds */

struct metrics;
struct metric_cell;

/* `table` is kept, not copied. */
struct metrics *metrics_new(const struct metric_desc *table, size_t count);
void metrics_free(struct metrics **metrics);

/* The cell shared by everybody for these label values (as many as the metric has labels; NULL where
 * it has none). */
struct metric_cell *metrics_cell(struct metrics *metrics, unsigned metric,
                                 const char *const *values);
/* A cell of the caller's own; past METRICS_MAX_SERIES the shared one of "other", so that memory
 * stays bounded. */
struct metric_cell *metrics_local(struct metrics *metrics, unsigned metric,
                                  const char *const *values);

void metric_add(struct metric_cell *cell, int64_t n); /* counter, gauge */
void metric_set(struct metric_cell *cell, int64_t n); /* gauge */
void metric_observe(struct metric_cell *cell, double value);
int64_t metric_value(const struct metric_cell *cell);

/* Short for metric_add(metrics_cell(...), 1) with up to two label values. */
void metrics_count(struct metrics *metrics, unsigned metric, const char *value1,
                   const char *value2);

void metrics_expose(struct metrics *metrics, struct buf *out);

#endif
