/* Owns every number that a service shows. A series is found by its label values under a lock that
 * hot code takes once, keeping the cell; cells themselves are relaxed atomics. A local cell has one
 * writer, so that it is written without a locked instruction and shares no cache line. */
#include "libcommon/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define HASH_SLOTS (METRICS_MAX_SERIES * 2)
#define CACHE_LINE 64

const double metrics_latency_buckets[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                          0.25,   0.5,   1,      2.5,   5,    10,    0};

struct metric_cell {
    struct metric_cell *next; /* local cells of the same series */
    const double *bounds;     /* histogram, else NULL */
    unsigned bound_count;
    bool local;
    _Atomic int64_t value;    /* histogram: observations */
    _Atomic uint64_t sum;     /* histogram: bits of a double */
    _Atomic int64_t counts[]; /* histogram: observations up to bounds[i], and not less */
};

struct series {
    char *labels; /* values, each with its NUL, one after another */
    size_t labels_len;
    struct metric_cell *shared;
    struct metric_cell *locals;
};

struct family {
    const struct metric_desc *desc;
    unsigned label_count;
    const double *bounds;
    unsigned bound_count;
    struct series *series; /* grows; cells do not move */
    size_t series_count;
    uint16_t *hash; /* index + 1 into series; NULL without labels */
};

struct metrics {
    pthread_mutex_t lock;
    struct family *families;
    size_t count;
};

static void family_init(struct family *family, const struct metric_desc *desc)
{
    family->desc = desc;
    while (desc->labels[family->label_count] != NULL)
        family->label_count++;
    if (family->label_count > 0)
        family->hash = mem_array(HASH_SLOTS, sizeof(*family->hash));
    if (desc->kind != METRIC_HISTOGRAM)
        return;
    family->bounds = desc->buckets != NULL ? desc->buckets : metrics_latency_buckets;
    while (family->bounds[family->bound_count] != 0)
        family->bound_count++;
}

static struct metric_cell *cell_new(const struct family *family, bool local)
{
    size_t size = sizeof(struct metric_cell) + family->bound_count * sizeof(_Atomic int64_t);
    size_t rounded = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct metric_cell *cell = aligned_alloc(CACHE_LINE, rounded);

    if (cell == NULL)
        abort();
    memset(cell, 0, rounded);
    cell->bounds = family->bounds;
    cell->bound_count = family->bound_count;
    cell->local = local;
    return cell;
}

/* The label values as one key; values that are NULL count as empty. */
static void key_of(const struct family *family, const char *const *values, struct buf *key)
{
    for (unsigned i = 0; i < family->label_count; i++) {
        const char *value = values != NULL && values[i] != NULL ? values[i] : "";
        buf_add(key, value, strlen(value) + 1);
    }
}

static void key_other(const struct family *family, struct buf *key)
{
    buf_clear(key);
    for (unsigned i = 0; i < family->label_count; i++)
        buf_add(key, "other", sizeof("other"));
}

/* FNV-1a. */
static size_t hash_of(const struct buf *key)
{
    uint64_t hash = 14695981039346656037U;

    for (size_t i = 0; i < key->len; i++)
        hash = (hash ^ (unsigned char)key->data[i]) * 1099511628211U;
    return (size_t)(hash ^ (hash >> 32));
}

/* The slot of the key in the hash, or the free one where it belongs. */
static uint16_t *hash_find(struct family *family, const struct buf *key)
{
    for (size_t at = hash_of(key);; at++) {
        uint16_t *slot = &family->hash[at % HASH_SLOTS];
        if (*slot == 0)
            return slot;
        const struct series *series = &family->series[*slot - 1];
        if (series->labels_len == key->len && memcmp(series->labels, key->data, key->len) == 0)
            return slot;
    }
}

static struct series *series_add(struct family *family, struct buf *key)
{
    family->series = mem_resize(family->series, family->series_count + 1, sizeof(*family->series));
    struct series *series = &family->series[family->series_count++];
    *series = (struct series){.labels_len = key->len, .shared = cell_new(family, false)};
    series->labels = buf_steal(key);
    return series;
}

/* *over: there were too many, it is the one of "other". */
static struct series *series_get(struct family *family, const char *const *values, bool *over)
{
    AUTO_BUF struct buf key = {0};

    *over = false;
    if (family->label_count == 0)
        return &family->series[0];
    key_of(family, values, &key);
    uint16_t *slot = hash_find(family, &key);
    if (*slot == 0 && family->series_count >= METRICS_MAX_SERIES) {
        *over = true;
        key_other(family, &key);
        slot = hash_find(family, &key);
    }
    if (*slot == 0) {
        *slot = (uint16_t)(family->series_count + 1);
        return series_add(family, &key);
    }
    return &family->series[*slot - 1];
}

struct metrics *metrics_new(const struct metric_desc *table, size_t count)
{
    struct metrics *metrics = mem_zalloc(sizeof(*metrics));

    pthread_mutex_init(&metrics->lock, NULL);
    metrics->families = mem_array(count, sizeof(*metrics->families));
    metrics->count = count;
    for (size_t i = 0; i < count; i++) {
        AUTO_BUF struct buf none = {0};
        family_init(&metrics->families[i], &table[i]);
        if (metrics->families[i].label_count == 0)
            series_add(&metrics->families[i], &none); /* shown as 0 from the start */
    }
    return metrics;
}

static void family_free(struct family *family)
{
    for (size_t i = 0; i < family->series_count; i++) {
        struct series *series = &family->series[i];
        while (series->locals != NULL) {
            struct metric_cell *cell = series->locals;
            series->locals = cell->next;
            free(cell);
        }
        free(series->shared);
        free(series->labels);
    }
    free(family->series);
    free(family->hash);
}

void metrics_free(struct metrics **metrics)
{
    if (*metrics == NULL)
        return;
    for (size_t i = 0; i < (*metrics)->count; i++)
        family_free(&(*metrics)->families[i]);
    pthread_mutex_destroy(&(*metrics)->lock);
    free((*metrics)->families);
    free(*metrics);
    *metrics = NULL;
}

struct metric_cell *metrics_cell(struct metrics *metrics, unsigned metric,
                                 const char *const *values)
{
    bool over;

    pthread_mutex_lock(&metrics->lock);
    struct metric_cell *cell = series_get(&metrics->families[metric], values, &over)->shared;
    pthread_mutex_unlock(&metrics->lock);
    return cell;
}

struct metric_cell *metrics_local(struct metrics *metrics, unsigned metric,
                                  const char *const *values)
{
    struct family *family = &metrics->families[metric];
    bool over;

    pthread_mutex_lock(&metrics->lock);
    struct series *series = series_get(family, values, &over);
    struct metric_cell *cell = over ? series->shared : cell_new(family, true);
    if (!over) {
        cell->next = series->locals;
        series->locals = cell;
    }
    pthread_mutex_unlock(&metrics->lock);
    return cell;
}

static void bump(const struct metric_cell *cell, _Atomic int64_t *number, int64_t n)
{
    if (cell->local)
        atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(number, n, memory_order_relaxed);
}

void metric_add(struct metric_cell *cell, int64_t n)
{
    bump(cell, &cell->value, n);
}

void metric_set(struct metric_cell *cell, int64_t n)
{
    atomic_store_explicit(&cell->value, n, memory_order_relaxed);
}

static double sum_of(const struct metric_cell *cell)
{
    uint64_t bits = atomic_load_explicit(&cell->sum, memory_order_relaxed);
    double sum;

    memcpy(&sum, &bits, sizeof(sum));
    return sum;
}

static void sum_add(struct metric_cell *cell, double value)
{
    uint64_t old = atomic_load_explicit(&cell->sum, memory_order_relaxed);
    uint64_t new;

    if (cell->local) {
        double sum = sum_of(cell) + value;
        memcpy(&new, &sum, sizeof(new));
        atomic_store_explicit(&cell->sum, new, memory_order_relaxed);
        return;
    }
    do {
        double sum;
        memcpy(&sum, &old, sizeof(sum));
        sum += value;
        memcpy(&new, &sum, sizeof(new));
    } while (!atomic_compare_exchange_weak_explicit(&cell->sum, &old, new, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void metric_observe(struct metric_cell *cell, double value)
{
    unsigned bucket = 0;

    if (isnan(value))
        return;
    while (bucket < cell->bound_count && value > cell->bounds[bucket])
        bucket++;
    if (bucket < cell->bound_count)
        bump(cell, &cell->counts[bucket], 1);
    bump(cell, &cell->value, 1);
    sum_add(cell, value);
}

int64_t metric_value(const struct metric_cell *cell)
{
    return atomic_load_explicit(&cell->value, memory_order_relaxed);
}

void metrics_count(struct metrics *metrics, unsigned metric, const char *value1, const char *value2)
{
    const char *values[METRICS_MAX_LABELS] = {value1, value2};

    metric_add(metrics_cell(metrics, metric, values), 1);
}

/* The sum of a series' cells, into `total` (made by cell_new). */
static void series_sum(const struct series *series, struct metric_cell *total)
{
    for (const struct metric_cell *cell = series->shared; cell != NULL;
         cell = cell == series->shared ? series->locals : cell->next) {
        bump(total, &total->value, metric_value(cell));
        sum_add(total, sum_of(cell));
        for (unsigned i = 0; i < cell->bound_count; i++)
            bump(total, &total->counts[i],
                 atomic_load_explicit(&cell->counts[i], memory_order_relaxed));
    }
}

static void put_escaped(struct buf *out, const char *text, bool quotes)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            buf_puts(out, "\\n");
        else if (*text == '\\' || (quotes && *text == '"'))
            buf_printf(out, "\\%c", *text);
        else
            buf_putc(out, *text);
    }
}

/* {a="x",b="y",le="0.5"}, or nothing where there is no label. */
static void put_labels(struct buf *out, const struct family *family, const struct series *series,
                       const char *le)
{
    const char *value = series->labels;

    if (family->label_count == 0 && le == NULL)
        return;
    buf_putc(out, '{');
    for (unsigned i = 0; i < family->label_count; i++) {
        buf_printf(out, "%s%s=\"", i > 0 ? "," : "", family->desc->labels[i]);
        put_escaped(out, value, true);
        buf_putc(out, '"');
        value += strlen(value) + 1;
    }
    if (le != NULL)
        buf_printf(out, "%sle=\"%s\"", family->label_count > 0 ? "," : "", le);
    buf_putc(out, '}');
}

static void put_sample(struct buf *out, const struct family *family, const struct series *series,
                       const char *suffix, const char *le, int64_t value)
{
    buf_printf(out, "%s%s", family->desc->name, suffix);
    put_labels(out, family, series, le);
    buf_printf(out, " %" PRId64 "\n", value);
}

static void put_histogram(struct buf *out, const struct family *family, const struct series *series,
                          const struct metric_cell *total)
{
    int64_t so_far = 0;

    for (unsigned i = 0; i < family->bound_count; i++) {
        char le[32];
        snprintf(le, sizeof(le), "%.10g", family->bounds[i]);
        so_far += atomic_load_explicit(&total->counts[i], memory_order_relaxed);
        put_sample(out, family, series, "_bucket", le, so_far);
    }
    /* Cells are read one by one while others write: a count never stands below its buckets. */
    int64_t all = metric_value(total) > so_far ? metric_value(total) : so_far;
    put_sample(out, family, series, "_bucket", "+Inf", all);
    buf_printf(out, "%s_sum", family->desc->name);
    put_labels(out, family, series, NULL);
    buf_printf(out, " %.15g\n", sum_of(total));
    put_sample(out, family, series, "_count", NULL, all);
}

static void put_series(struct buf *out, const struct family *family, const struct series *series)
{
    AUTO_FREE struct metric_cell *total = cell_new(family, true);

    series_sum(series, total);
    if (family->desc->kind == METRIC_HISTOGRAM)
        put_histogram(out, family, series, total);
    else
        put_sample(out, family, series, "", NULL, metric_value(total));
}

static const char *kind_name(enum metric_kind kind)
{
    switch (kind) {
    case METRIC_COUNTER:
        return "counter";
    case METRIC_GAUGE:
        return "gauge";
    case METRIC_HISTOGRAM:
        return "histogram";
    }
    return "untyped";
}

static void put_family(struct buf *out, const struct family *family)
{
    buf_printf(out, "# HELP %s ", family->desc->name);
    put_escaped(out, family->desc->help, false);
    buf_printf(out, "\n# TYPE %s %s\n", family->desc->name, kind_name(family->desc->kind));
    for (size_t i = 0; i < family->series_count; i++)
        put_series(out, family, &family->series[i]);
}

void metrics_expose(struct metrics *metrics, struct buf *out)
{
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->count; i++)
        put_family(out, &metrics->families[i]);
    pthread_mutex_unlock(&metrics->lock);
}
