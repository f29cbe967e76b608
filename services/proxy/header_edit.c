/* Compiles and applies a route's changes to headers. */
#include "services/proxy/header_edit.h"

#include "libcommon/mem.h"

#include <string.h>

bool header_value_valid(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
            return false;
    return len == 0 || (!strchr(" \t", text[0]) && !strchr(" \t", text[len - 1]));
}

/* What the proxy itself decides, in either direction. */
static const char *const fixed[] = {"Content-Length", "X-Request-Id", "Date"};
static const char *const fixed_request[] = {"Host", "Expect", "Forwarded", "Octroi-Subscription",
                                            "Octroi-Tier"};

static bool listed(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(names[i], name) == 0)
            return true;
    return false;
}

static int check_name(const char *name, enum header_direction direction, struct err *err)
{
    if (!http1_is_token(name, strlen(name)))
        return err_set(err, "%s is not a header's name", name);
    if (http1_name_hop_by_hop(name) || listed(fixed, ARRAY_LEN(fixed), name))
        return err_set(err, "%s is set by the proxy and cannot be changed", name);
    if (direction == HEADER_REQUEST && (listed(fixed_request, ARRAY_LEN(fixed_request), name) ||
                                        strncasecmp(name, "X-Forwarded-", 12) == 0))
        return err_set(err, "%s is set by the proxy and cannot be changed", name);
    return 0;
}

static int add(struct header_edit *edit, const struct header_config *config,
               struct added_header *slot, struct err *err)
{
    union {
        const char *in;
        char *out;
    } value = {.in = config->value};

    if (!header_value_valid(config->value))
        return err_set(err, "the value of %s holds a control character or outer blanks",
                       config->key);
    slot->name = config->key;
    slot->value = h2o_iovec_init(value.out, strlen(config->value));
    if (slot > edit->added)
        slot[-1].next = slot;
    return 0;
}

int header_edit_new(const struct header_edit_config *config, enum header_direction direction,
                    struct header_edit *out, struct err *err)
{
    const struct header_config *set = config->set.items;
    const char *const *removed = config->remove.items;
    size_t count = config->set.count + config->remove.count;
    *out = (struct header_edit){.dropped = NULL};
    if (count == 0)
        return 0;
    out->dropped = mem_array(count, sizeof(*out->dropped));
    if (config->set.count)
        out->added = mem_array(config->set.count, sizeof(*out->added));
    for (size_t i = 0; i < count; i++) {
        bool is_set = i < config->set.count;
        const char *name = is_set ? set[i].key : removed[i - config->set.count];
        if (check_name(name, direction, err) || (is_set && add(out, &set[i], &out->added[i], err)))
            return -1;
        out->dropped[out->dropped_count++] = name;
    }
    return 0;
}

void header_edit_free(struct header_edit *edit)
{
    free(edit->dropped);
    free(edit->added);
    *edit = (struct header_edit){.dropped = NULL};
}

static bool drops(const struct header_edit *edit, const char *name, size_t len)
{
    for (size_t i = 0; i < edit->dropped_count; i++)
        if (strlen(edit->dropped[i]) == len && http1_same_name(name, edit->dropped[i], len))
            return true;
    return false;
}

void header_edit_trailers(const struct header_edit *edit, h2o_iovec_t *lines)
{
    char *at = lines->base, *end = lines->base + lines->len, *out = at;
    while (edit->dropped_count && at < end) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        char *next = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((next ? next + 1 : end) - at);
        if (!colon || !drops(edit, at, (size_t)(colon - at))) {
            memmove(out, at, len);
            out += len;
        }
        at += len;
    }
    if (edit->dropped_count)
        lines->len = (size_t)(out - lines->base);
}

void header_edit_drop(const struct header_edit *edit, const struct http1_head *head)
{
    for (size_t i = 0; i < edit->dropped_count; i++) {
        size_t len = strlen(edit->dropped[i]);
        for (size_t j = 0; j < head->count; j++)
            if (head->fields[j].name_len == len &&
                http1_same_name(head->base + head->fields[j].name, edit->dropped[i], len))
                head->fields[j].dropped = true;
    }
}
