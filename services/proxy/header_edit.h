/* A route's changes to the headers of a message: compiled when a configuration is loaded, immutable
 * afterwards. What belongs to the message itself or to the proxy (framing, Host, forwarding, ids)
 * cannot be edited: such a name is an error at load. */
#ifndef PROXY_HEADER_EDIT_H
#define PROXY_HEADER_EDIT_H

#include "services/proxy/config.h"
#include "services/proxy/http1.h"

struct added_header {
    const struct added_header *next;
    const char *name;
    h2o_iovec_t value;
};

struct header_edit {
    const char **dropped; /* names: of what is set and of what is removed */
    size_t dropped_count;
    struct added_header *added; /* as a list, in the order of the file */
};

enum header_direction { HEADER_REQUEST, HEADER_RESPONSE };

/* The texts are the configuration's, which outlives it. *out can be freed on failure too. */
int header_edit_new(const struct header_edit_config *config, enum header_direction direction,
                    struct header_edit *out, struct err *err) MUST_USE;
void header_edit_free(struct header_edit *edit);
/* Marks what is set or removed. A hyphen also stands for an underscore: many origins cannot tell
 * them apart. */
void header_edit_drop(const struct header_edit *edit, const struct http1_head *head);
/* Takes the same out of sound trailer lines: to an origin that merges them into the head they are
 * as good as headers. */
void header_edit_trailers(const struct header_edit *edit, h2o_iovec_t *lines);
/* Neither control characters nor blanks at its ends. */
bool header_value_valid(const char *text);

#endif
