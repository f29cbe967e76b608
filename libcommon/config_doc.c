/* Owns the reference page of a configuration: the same rows that load a file, as Markdown. */
#include "libcommon/buf.h"
#include "libcommon/config.h"
#include "libcommon/config_value.h"

#include <string.h>

static void put_cell(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            buf_puts(out, "\\|");
        else
            buf_putc(out, *text == '\n' ? ' ' : *text);
    }
}

static const char *zero_of(enum config_kind kind)
{
    if (kind == CONFIG_BOOL)
        return "`false`";
    return kind >= CONFIG_INT && kind <= CONFIG_FLOAT ? "`0`" : "";
}

static void put_default(const struct config_field *field, struct buf *out)
{
    if (field->required)
        buf_puts(out, "required");
    else if (field->fallback == NULL || field->fallback[0] == '\0')
        buf_puts(out, zero_of(field->kind));
    else
        buf_printf(out, "`%s`", field->fallback);
}

static void put_row(const struct config_field *field, struct buf *out)
{
    AUTO_BUF struct buf type = {0};

    config_value_describe(field, &type);
    buf_printf(out, "| `%s` | ", field->name);
    put_cell(out, type.data);
    buf_puts(out, " | ");
    put_default(field, out);
    buf_puts(out, " | ");
    put_cell(out, field->doc != NULL ? field->doc : "");
    buf_puts(out, field->secret ? " (secret)" : "");
    buf_puts(out, " |\n");
}

static void put_table(const struct config_schema *schema, struct buf *out)
{
    if (schema->scalar_field != NULL)
        buf_printf(out, "A single value stands for `%s`.\n\n", schema->scalar_field);
    buf_puts(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < schema->count; i++)
        put_row(&schema->fields[i], out);
    buf_putc(out, '\n');
}

static void put_children(const struct config_schema *schema, const char *path, struct buf *out)
{
    for (size_t i = 0; i < schema->count; i++) {
        const struct config_field *field = &schema->fields[i];
        const char *suffix = field->kind == CONFIG_LIST  ? "[]"
                             : field->kind == CONFIG_MAP ? ".<name>"
                                                         : "";
        if (field->section == NULL)
            continue;
        AUTO_FREE char *here =
            mem_printf("%s%s%s%s", path, path[0] != '\0' ? "." : "", field->name, suffix);
        buf_printf(out, "### `%s`\n\n", here);
        put_table(field->section, out);
        put_children(field->section, here, out);
    }
}

void config_document(const struct config_schema *schema, struct buf *out)
{
    put_table(schema, out);
    put_children(schema, "", out);
}
