/* Reads Forwarded: elements between commas, parameters between semicolons, values that may be
 * quoted and hold either. */
#include "services/proxy/forwarded.h"

#include "services/proxy/http1.h"

#include <string.h>

struct reader {
    const char *at, *end;
};

static void skip_blanks(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t'))
        reader->at++;
}

static bool take(struct reader *reader, char c)
{
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

static int read_token(struct reader *reader, h2o_iovec_t *out)
{
    const char *start = reader->at;
    while (reader->at < reader->end && http1_is_token(reader->at, 1))
        reader->at++;

    union {
        const char *in;
        char *out;
    } text = {.in = start};

    *out = h2o_iovec_init(text.out, (size_t)(reader->at - start));
    return out->len ? 0 : -1;
}

/* An address needs no escapes: one in the value makes it no address. */
static int read_value(struct reader *reader, h2o_iovec_t *out)
{
    if (!take(reader, '"'))
        return read_token(reader, out);

    union {
        const char *in;
        char *out;
    } text = {.in = reader->at};

    while (reader->at < reader->end && *reader->at != '"')
        reader->at += *reader->at == '\\' && reader->end - reader->at > 1 ? 2 : 1;
    *out = h2o_iovec_init(text.out, (size_t)(reader->at - text.in));
    return take(reader, '"') ? 0 : -1;
}

/* One element; *node is what it says of `for`, or empty. */
static int read_element(struct reader *reader, h2o_iovec_t *node)
{
    *node = h2o_iovec_init(NULL, 0);
    do {
        h2o_iovec_t name, value;
        skip_blanks(reader);
        if (read_token(reader, &name) || !take(reader, '=') || read_value(reader, &value))
            return -1;
        if (name.len == 3 && strncasecmp(name.base, "for", 3) == 0) {
            if (node->base)
                return -1;
            *node = value;
        }
        skip_blanks(reader);
    } while (take(reader, ';'));
    return 0;
}

int forwarded_client(h2o_iovec_t value, const struct cidr_list *trusted, bool *known,
                     struct address *client)
{
    struct reader reader = {value.base, value.base + value.len};
    do {
        h2o_iovec_t node;
        struct address address;
        if (read_element(&reader, &node))
            return -1;
        if (!node.len || address_parse(node, &address)) {
            *known = false;
        } else if (!*known || !cidr_contains(trusted, &address)) {
            *known = true;
            *client = address;
        }
    } while (take(&reader, ','));
    return reader.at == reader.end ? 0 : -1;
}
