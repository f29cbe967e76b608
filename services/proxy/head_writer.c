/* Heads are built in the worker's scratch: runs of fields that pass unchanged are copied whole. */
#include "services/proxy/exchange.h"

#include <string.h>

struct head_writer head_begin(struct worker *worker)
{
    char *scratch = worker->priv->scratch;
    return (struct head_writer){scratch, scratch, scratch + worker->priv->scratch_size, false};
}

void head_add(struct head_writer *writer, const char *data, size_t len)
{
    if ((size_t)(writer->end - writer->at) < len) {
        writer->overflow = true;
        return;
    }
    if (len)
        memcpy(writer->at, data, len);
    writer->at += len;
}

void head_puts(struct head_writer *writer, const char *text)
{
    head_add(writer, text, strlen(text));
}

void head_number(struct head_writer *writer, uint64_t number)
{
    char text[20];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    head_add(writer, text + at, sizeof(text) - at);
}

void head_line(struct head_writer *writer, const char *name, h2o_iovec_t value)
{
    head_puts(writer, name);
    head_add(writer, ": ", 2);
    if (value.len)
        head_add(writer, value.base, value.len);
    head_add(writer, "\r\n", 2);
}

void head_fields(struct head_writer *writer, const struct http1_head *head)
{
    size_t i = 0;
    while (i < head->count) {
        if (head->fields[i].dropped) {
            i++;
            continue;
        }
        size_t first = i;
        while (i < head->count && !head->fields[i].dropped)
            i++;
        size_t start = head->fields[first].name;
        size_t end = i < head->count ? head->fields[i].name : head->len - 2;
        head_add(writer, head->base + start, end - start);
    }
}

void head_added(struct head_writer *writer, const struct added_header *list)
{
    for (; list; list = list->next)
        head_line(writer, list->name, list->value);
}
