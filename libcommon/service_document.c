/* Owns the reference pages in docs/: each is printed from the table that the program itself runs
 * on, and CI compares. */
#include "libcommon/service_run.h"

#include "libcommon/buf.h"
#include "libcommon/problem.h"

#include <stdio.h>
#include <string.h>

static void document_variables(const struct service_desc *desc, struct buf *out)
{
    buf_printf(out,
               "### Environment of %s\n\nWithout any file these variables alone make the "
               "configuration. One that is empty counts as not set, one of this prefix that is not "
               "here is an error.\n\n| variable | value | default | meaning |\n|---|---|---|---|\n",
               desc->name);
    for (size_t i = 0; i < desc->variable_count; i++) {
        const struct service_variable *row = &desc->variables[i];
        bool shown = row->fallback && row->fallback[0];
        buf_printf(out, "| `%s` | %s | %s%s%s | %s |\n", row->name, row->kind, shown ? "`" : "",
                   row->fallback ? row->fallback : "required", shown ? "`" : "", row->doc);
    }
    buf_putc(out, '\n');
}

static void document_config(const struct service_desc *desc, struct buf *out)
{
    buf_printf(out, "## %s\n\n%s\n\nFile: `-c FILE`, or `%s`, or `%s`.\n\n", desc->name,
               desc->summary, desc->config_env != NULL ? desc->config_env : "OCTROI_CONFIG",
               desc->default_config);
    config_document(desc->config, out);
    if (desc->variable_count)
        document_variables(desc, out);
}

static const char *kind_word(enum metric_kind kind)
{
    return kind == METRIC_COUNTER ? "counter" : kind == METRIC_GAUGE ? "gauge" : "histogram";
}

static void document_metric(const struct metric_desc *metric, struct buf *out)
{
    buf_printf(out, "| `%s` | %s | ", metric->name, kind_word(metric->kind));
    for (size_t i = 0; metric->labels[i] != NULL; i++)
        buf_printf(out, "%s`%s`", i > 0 ? ", " : "", metric->labels[i]);
    buf_printf(out, " | %s |\n", metric->help);
}

static void document_table(const char *title, const struct metric_desc *table, size_t count,
                           struct buf *out)
{
    buf_printf(out, "## %s\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n", title);
    for (size_t i = 0; i < count; i++)
        document_metric(&table[i], out);
    buf_putc(out, '\n');
}

static void document_metrics(const struct service_desc *desc, struct buf *out)
{
    document_table(desc->name, desc->metrics, desc->metric_count, out);
}

static void document_common(const struct service_desc *desc, struct buf *out)
{
    (void)desc;
    document_table("Every service", service_common_metrics, service_common_metric_count, out);
}

static void document_logs(const struct service_desc *desc, struct buf *out)
{
#define OPEN   ""
#define SECRET "always written as `[redacted]`: "
    (void)desc;
    buf_puts(out, "| key | meaning |\n|---|---|\n"
                  "| `ts` | time in UTC with milliseconds |\n"
                  "| `level` | debug, info, warn or error |\n"
                  "| `service` | which service wrote the line |\n"
                  "| `msg` | what happened |\n");
#define LOG_KEY(id, name, secrecy, doc) buf_printf(out, "| `%s` | %s%s |\n", name, secrecy, doc);
#include "libcommon/log_keys.def"
#undef LOG_KEY
#undef OPEN
#undef SECRET
}

static void document_problems(const struct service_desc *desc, struct buf *out)
{
    (void)desc;
    for (unsigned i = PROBLEM_NONE + 1; i < PROBLEM_COUNT; i++) {
        const struct problem_desc *problem = problem_get((enum problem)i);
        buf_printf(out, "## %s\n\n%s\n\n- Status: %u\n- Retryable: %s\n- What to do: %s\n\n",
                   problem->name, problem->title, problem->status,
                   problem->retryable ? "yes, unchanged" : "no", problem->next);
    }
}

static const struct {
    const char *kind;
    void (*write)(const struct service_desc *desc, struct buf *out);
} pages[] = {
    {"config", document_config},         {"metrics", document_metrics},
    {"common-metrics", document_common}, {"logs", document_logs},
    {"problems", document_problems},
};

int service_document(const struct service_desc *desc, const char *kind)
{
    AUTO_BUF struct buf out = {0};

    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (strcmp(pages[i].kind, kind) != 0)
            continue;
        pages[i].write(desc, &out);
        return fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0 ? 0 : -1;
    }
    return -1;
}
