/* Metrics: cells, their sum, the exposition, and the bound on series. */
#include "libcommon/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { HITS, DEPTH, LATENCY, BY_ROUTE };

static const double buckets[] = {0.1, 1, 0};

static const struct metric_desc table[] = {
    [HITS] = {.name = "octroi_t_hits_total", .kind = METRIC_COUNTER, .help = "a \\ and\na line"},
    [DEPTH] = {.name = "octroi_t_depth", .kind = METRIC_GAUGE, .help = "depth"},
    [LATENCY] = {.name = "octroi_t_latency_seconds",
                 .kind = METRIC_HISTOGRAM,
                 .help = "latency",
                 .labels = {"route"},
                 .buckets = buckets},
    [BY_ROUTE] = {.name = "octroi_t_requests_total",
                  .kind = METRIC_COUNTER,
                  .help = "requests",
                  .labels = {"route", "status"}},
};

static struct metrics *fresh(void)
{
    return metrics_new(table, ARRAY_LEN(table));
}

static char *expose(struct metrics *metrics)
{
    struct buf out = {0};

    metrics_expose(metrics, &out);
    return buf_steal(&out);
}

static void expect(struct metrics *metrics, const char *text)
{
    AUTO_FREE char *all = expose(metrics);

    if (strstr(all, text) == NULL)
        fail_msg("%s is not in\n%s", text, all);
}

static void test_exposition(void **state)
{
    struct metrics *metrics = fresh();
    const char *route[] = {"a\"b\\c\nd"};
    struct metric_cell *latency = metrics_cell(metrics, LATENCY, route);

    (void)state;
    metrics_count(metrics, HITS, NULL, NULL);
    metric_set(metrics_cell(metrics, DEPTH, NULL), -4);
    metric_observe(latency, 0.1);
    metric_observe(latency, 0.5);
    metric_observe(latency, 7);
    metrics_count(metrics, BY_ROUTE, "api", "2xx");
    metrics_count(metrics, BY_ROUTE, "api", NULL);
    AUTO_FREE char *all = expose(metrics);
    assert_string_equal(all,
                        "# HELP octroi_t_hits_total a \\\\ and\\na line\n"
                        "# TYPE octroi_t_hits_total counter\n"
                        "octroi_t_hits_total 1\n"
                        "# HELP octroi_t_depth depth\n"
                        "# TYPE octroi_t_depth gauge\n"
                        "octroi_t_depth -4\n"
                        "# HELP octroi_t_latency_seconds latency\n"
                        "# TYPE octroi_t_latency_seconds histogram\n"
                        "octroi_t_latency_seconds_bucket{route=\"a\\\"b\\\\c\\nd\",le=\"0.1\"} 1\n"
                        "octroi_t_latency_seconds_bucket{route=\"a\\\"b\\\\c\\nd\",le=\"1\"} 2\n"
                        "octroi_t_latency_seconds_bucket{route=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 3\n"
                        "octroi_t_latency_seconds_sum{route=\"a\\\"b\\\\c\\nd\"} 7.6\n"
                        "octroi_t_latency_seconds_count{route=\"a\\\"b\\\\c\\nd\"} 3\n"
                        "# HELP octroi_t_requests_total requests\n"
                        "# TYPE octroi_t_requests_total counter\n"
                        "octroi_t_requests_total{route=\"api\",status=\"2xx\"} 1\n"
                        "octroi_t_requests_total{route=\"api\",status=\"\"} 1\n");
    metrics_free(&metrics);
    assert_null(metrics);
}

static void test_same_labels_same_cell(void **state)
{
    struct metrics *metrics = fresh();
    const char *one[] = {"ab", "c"};
    const char *two[] = {"a", "bc"};

    (void)state;
    assert_ptr_equal(metrics_cell(metrics, BY_ROUTE, one), metrics_cell(metrics, BY_ROUTE, one));
    assert_ptr_not_equal(metrics_cell(metrics, BY_ROUTE, one),
                         metrics_cell(metrics, BY_ROUTE, two));
    metrics_free(&metrics);
}

static void test_local_cells_are_summed(void **state)
{
    struct metrics *metrics = fresh();
    const char *route[] = {"r"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct metric_cell *hits = metrics_local(metrics, HITS, NULL);
        struct metric_cell *latency = metrics_local(metrics, LATENCY, route);
        metric_add(hits, 10);
        metric_observe(latency, 0.01);
        assert_int_equal(metric_value(hits), 10);
    }
    metric_add(metrics_cell(metrics, HITS, NULL), 5);
    metric_observe(metrics_cell(metrics, LATENCY, route), 2);
    expect(metrics, "octroi_t_hits_total 35\n");
    expect(metrics, "{route=\"r\",le=\"0.1\"} 3\n");
    expect(metrics, "octroi_t_latency_seconds_count{route=\"r\"} 4\n");
    expect(metrics, "octroi_t_latency_seconds_sum{route=\"r\"} 2.03\n");
    metrics_free(&metrics);
}

static void test_series_are_bounded(void **state)
{
    struct metrics *metrics = fresh();

    (void)state;
    for (int i = 0; i < METRICS_MAX_SERIES + 100; i++) {
        char route[16];
        snprintf(route, sizeof(route), "r%d", i);
        metrics_count(metrics, BY_ROUTE, route, "2xx");
    }
    expect(metrics, "octroi_t_requests_total{route=\"other\",status=\"other\"} 100\n");
    expect(metrics, "octroi_t_requests_total{route=\"r2047\",status=\"2xx\"} 1\n");
    metrics_count(metrics, BY_ROUTE, "r3", "2xx");
    expect(metrics, "octroi_t_requests_total{route=\"r3\",status=\"2xx\"} 2\n");
    metrics_free(&metrics);
}

static void test_odd_observations(void **state)
{
    struct metrics *metrics = fresh();
    const char *route[] = {"r"};
    struct metric_cell *cell = metrics_cell(metrics, LATENCY, route);

    (void)state;
    metric_observe(cell, 0.0 / 0.0 * 0.0);
    metric_observe(cell, -1);
    expect(metrics, "octroi_t_latency_seconds_count{route=\"r\"} 1\n");
    metrics_free(&metrics);
}

static void *hammer(void *arg)
{
    struct metrics *metrics = arg;
    const char *route[] = {"r"};

    for (int i = 0; i < 1000; i++) {
        metrics_count(metrics, BY_ROUTE, i % 2 == 0 ? "even" : "odd", "2xx");
        metric_observe(metrics_cell(metrics, LATENCY, route), 0.5);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct metrics *metrics = fresh();
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, metrics), 0);
    /* Reading while others write. */
    free(expose(metrics));
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    expect(metrics, "octroi_t_requests_total{route=\"even\",status=\"2xx\"} 2000\n");
    expect(metrics, "octroi_t_latency_seconds_sum{route=\"r\"} 2000\n");
    expect(metrics, "octroi_t_latency_seconds_count{route=\"r\"} 4000\n");
    metrics_free(&metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exposition),
        cmocka_unit_test(test_same_labels_same_cell),
        cmocka_unit_test(test_local_cells_are_summed),
        cmocka_unit_test(test_series_are_bounded),
        cmocka_unit_test(test_odd_observations),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
