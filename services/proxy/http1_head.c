/* Reading of field lines, and what is asked of a head once it is read. Each byte is looked at once;
 * values are slices of the input. */
#include "services/proxy/http1_head.h"

#include "libcommon/mem.h"

#include <ctype.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define T(c) [c] = true
const bool http1_token_char[256] = {
    T('!'), T('#'), T('$'), T('%'), T('&'), T('\''), T('*'), T('+'), T('-'), T('.'), T('^'),
    T('_'), T('`'), T('|'), T('~'), T('0'), T('1'),  T('2'), T('3'), T('4'), T('5'), T('6'),
    T('7'), T('8'), T('9'), T('a'), T('b'), T('c'),  T('d'), T('e'), T('f'), T('g'), T('h'),
    T('i'), T('j'), T('k'), T('l'), T('m'), T('n'),  T('o'), T('p'), T('q'), T('r'), T('s'),
    T('t'), T('u'), T('v'), T('w'), T('x'), T('y'),  T('z'), T('A'), T('B'), T('C'), T('D'),
    T('E'), T('F'), T('G'), T('H'), T('I'), T('J'),  T('K'), T('L'), T('M'), T('N'), T('O'),
    T('P'), T('Q'), T('R'), T('S'), T('T'), T('U'),  T('V'), T('W'), T('X'), T('Y'), T('Z')};
#undef T

static const struct {
    const char *text;
    size_t len;
} names[NAME_COUNT] = {

#define HTTP1_NAME(id, text) [NAME_##id] = {text, sizeof(text) - 1},
#include "services/proxy/http1_names.def"
#undef HTTP1_NAME
};

/* For each length the first letters that a known name of this length has: most fields are dismissed
 * by one look. */
static uint32_t first_letters[32];

/* Lower case, a hyphen for an underscore. */
static unsigned char folded[256];

__attribute__((constructor)) static void fill_tables(void)
{
    for (unsigned c = 0; c < ARRAY_LEN(folded); c++)
        folded[c] = c == '_'               ? '-'
                    : c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20)
                                           : (unsigned char)c;
    for (size_t i = NAME_OTHER + 1; i < NAME_COUNT; i++)
        first_letters[names[i].len] |= 1U << (names[i].text[0] & 31);
}

static bool folded_equal(const char *sent, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (folded[(unsigned char)sent[i]] != folded[(unsigned char)name[i]])
            return false;
    return true;
}

static enum http1_name lookup_known(const char *name, size_t len)
{
    if (len >= ARRAY_LEN(first_letters) || !(first_letters[len] >> (name[0] & 31) & 1))
        return NAME_OTHER;
    for (size_t i = NAME_OTHER + 1; i < NAME_COUNT; i++)
        if (names[i].len == len && folded_equal(name, names[i].text, len))
            return (enum http1_name)i;
    return NAME_OTHER;
}

/* With an underscore for a hyphen it is found too. */
static enum http1_name lookup(const char *name, size_t len)
{
    static const size_t family = sizeof("x-forwarded-") - 1;
    enum http1_name id = lookup_known(name, len);
    if (id == NAME_OTHER && len > family && (name[0] | 0x20) == 'x' &&
        folded_equal(name, "x-forwarded-", family))
        return NAME_X_FORWARDED_OTHER;
    return id;
}

enum http1_result http1_fail(struct http1_reader *reader, enum problem problem, const char *detail)
{
    reader->error->problem = problem;
    reader->error->detail = detail;
    return HTTP1_ERROR;
}

const char *http1_find_control(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i low = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f), tab = _mm_set1_epi8('\t');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i control =
            _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, low), v), _mm_cmpeq_epi8(v, del));
        int mask = _mm_movemask_epi8(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), control));
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return p;
    }
    return end;
}

enum http1_result http1_read_crlf(struct http1_reader *reader, const char *detail)
{
    if (reader->at < reader->len && reader->buf[reader->at] != '\r')
        return http1_fail(reader, PROBLEM_BAD_REQUEST, detail);
    if (reader->len - reader->at < 2)
        return HTTP1_MORE;
    if (reader->buf[reader->at + 1] != '\n')
        return http1_fail(reader, PROBLEM_BAD_REQUEST, detail);
    reader->at += 2;
    return HTTP1_DONE;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static enum http1_result read_name(struct http1_reader *reader, struct http1_field *field)
{
    const char *buf = reader->buf;
    size_t start = reader->at, at = start;
    while (at < reader->len && http1_token_char[(unsigned char)buf[at]])
        at++;
    if (at == reader->len)
        return HTTP1_MORE;
    if (at == start && blank(buf[at]))
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "a header is folded over lines");
    if (at == start || buf[at] != ':')
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "a header name is malformed");
    if (at - start > UINT16_MAX)
        return http1_fail(reader, PROBLEM_HEADERS_TOO_LARGE, "a header name is too long");
    field->name = (uint32_t)start;
    field->name_len = (uint16_t)(at - start);
    reader->at = at + 1;
    return HTTP1_DONE;
}

static enum http1_result read_value(struct http1_reader *reader, struct http1_field *field)
{
    const char *buf = reader->buf;
    while (reader->at < reader->len && blank(buf[reader->at]))
        reader->at++;
    size_t start = reader->at;
    size_t end = (size_t)(http1_find_control(buf + start, buf + reader->len) - buf);
    reader->at = end;
    enum http1_result result =
        http1_read_crlf(reader, "a header value holds a control character or ends without CRLF");
    if (result != HTTP1_DONE)
        return result;
    while (end > start && blank(buf[end - 1]))
        end--;
    field->value = (uint32_t)start;
    field->value_len = (uint32_t)(end - start);
    return HTTP1_DONE;
}

static enum http1_result read_field(struct http1_reader *reader, struct http1_head *head)
{
    if (head->count == reader->limits->fields)
        return http1_fail(reader, PROBLEM_HEADERS_TOO_LARGE, "there are too many headers");
    struct http1_field *field = &head->fields[head->count];
    enum http1_result result = read_name(reader, field);
    if (result == HTTP1_DONE)
        result = read_value(reader, field);
    if (result != HTTP1_DONE)
        return result;
    const char *name = reader->buf + field->name;
    enum http1_name id = lookup(name, field->name_len);
    /* content_length means nothing here, and must not mean something behind us. */
    field->dropped = id != NAME_OTHER && memchr(name, '_', field->name_len);
    if (field->dropped)
        id = NAME_OTHER;
    field->id = (uint8_t)id;
    head->count++;
    if (!head->first[id])
        head->first[id] = (uint32_t)head->count;
    if (head->seen[id] < UINT8_MAX)
        head->seen[id]++;
    return HTTP1_DONE;
}

enum http1_result http1_read_fields(struct http1_reader *reader, struct http1_head *head)
{
    for (;;) {
        if (reader->at == reader->len)
            return HTTP1_MORE;
        if (reader->buf[reader->at] == '\r' || reader->buf[reader->at] == '\n')
            return http1_read_crlf(reader, "a line ends without CRLF");
        enum http1_result result = read_field(reader, head);
        if (result != HTTP1_DONE)
            return result;
    }
}

h2o_iovec_t http1_value(const struct http1_head *head, const struct http1_field *field)
{
    return h2o_iovec_init(head->base + field->value, field->value_len);
}

struct http1_field *http1_find(const struct http1_head *head, enum http1_name name)
{
    return head->first[name] ? &head->fields[head->first[name] - 1] : NULL;
}

h2o_iovec_t http1_slice(const struct http1_head *head, struct http1_slice slice)
{
    return h2o_iovec_init(head->base + slice.at, slice.len);
}

bool http1_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!http1_token_char[(unsigned char)text[i]])
            return false;
    return len > 0;
}

bool http1_same_name(const char *sent, const char *name, size_t len)
{
    return folded_equal(sent, name, len);
}

/* The next element of a comma-separated list, trimmed; false at its end. */
static bool list_next(h2o_iovec_t *list, h2o_iovec_t *element)
{
    if (list->len == 0)
        return false;
    char *comma = memchr(list->base, ',', list->len);
    size_t len = comma ? (size_t)(comma - list->base) : list->len;
    *element = h2o_iovec_init(list->base, len);
    size_t skip = comma ? len + 1 : len;
    *list = h2o_iovec_init(list->base + skip, list->len - skip);
    while (element->len > 0 && blank(element->base[0]))
        *element = h2o_iovec_init(element->base + 1, element->len - 1);
    while (element->len > 0 && blank(element->base[element->len - 1]))
        element->len--;
    return true;
}

bool http1_list_has(h2o_iovec_t list, const char *token)
{
    size_t len = strlen(token);
    h2o_iovec_t element;
    while (list_next(&list, &element))
        if (element.len == len && strncasecmp(element.base, token, len) == 0)
            return true;
    return false;
}

enum http1_result http1_check_connection(struct http1_reader *reader, const struct http1_head *head)
{
    size_t options = 0;
    for (size_t i = 0; head->seen[NAME_CONNECTION] && i < head->count; i++) {
        if (head->fields[i].id != NAME_CONNECTION)
            continue;
        h2o_iovec_t value = http1_value(head, &head->fields[i]), element;
        while (list_next(&value, &element))
            if (++options > CONNECTION_OPTIONS_MAX)
                return http1_fail(reader, PROBLEM_BAD_REQUEST, "Connection has too many options");
    }
    return HTTP1_DONE;
}

bool http1_persists(const struct http1_head *head)
{
    bool keep = head->minor == 1;
    for (size_t i = 0; head->seen[NAME_CONNECTION] && i < head->count; i++) {
        if (head->fields[i].id != NAME_CONNECTION)
            continue;
        h2o_iovec_t value = http1_value(head, &head->fields[i]);
        if (http1_list_has(value, "close"))
            return false;
        if (head->minor == 0 && http1_list_has(value, "keep-alive"))
            keep = true;
    }
    return keep;
}

enum http1_result http1_read_length(struct http1_reader *reader, struct http1_head *head)
{
    const struct http1_field *field = http1_find(head, NAME_CONTENT_LENGTH);
    if (!field)
        return HTTP1_DONE;
    if (head->seen[NAME_CONTENT_LENGTH] > 1)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "Content-Length is there more than once");
    uint64_t length = 0;
    for (uint32_t i = 0; i < field->value_len; i++) {
        char c = head->base[field->value + i];
        if (!isdigit((unsigned char)c) || i >= 18)
            return http1_fail(reader, PROBLEM_BAD_REQUEST, "Content-Length is not one number");
        length = length * 10 + (unsigned)(c - '0');
    }
    if (field->value_len == 0)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "Content-Length is not one number");
    head->content_length = length;
    head->has_length = true;
    return HTTP1_DONE;
}

static bool hop_by_hop(unsigned id)
{
    switch (id) {
    case NAME_CONNECTION:
    case NAME_TRANSFER_ENCODING:
    case NAME_UPGRADE:
    case NAME_TE:
    case NAME_TRAILER:
    case NAME_KEEP_ALIVE:
    case NAME_PROXY_CONNECTION:
    case NAME_PROXY_AUTHENTICATE:
    case NAME_PROXY_AUTHORIZATION:
    case NAME_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

bool http1_name_hop_by_hop(const char *name)
{
    return hop_by_hop(lookup(name, strlen(name)));
}

/* What Connection may not take away: it would change the meaning of the message. */
static bool protected(unsigned id)
{
    return id == NAME_HOST || id == NAME_CONTENT_LENGTH || id == NAME_DATE || id == NAME_EXPECT ||
           id == NAME_AUTHORIZATION;
}

static void drop_named(struct http1_head *head, h2o_iovec_t list)
{
    h2o_iovec_t element;
    while (list_next(&list, &element)) {
        for (size_t i = 0; i < head->count; i++) {
            struct http1_field *field = &head->fields[i];
            if (field->name_len == element.len && !protected(field->id) &&
                strncasecmp(head->base + field->name, element.base, element.len) == 0)
                field->dropped = true;
        }
    }
}

void http1_drop_hop_by_hop(struct http1_head *head)
{
    for (size_t i = 0; i < head->count; i++) {
        if (!hop_by_hop(head->fields[i].id))
            continue;
        head->fields[i].dropped = true;
        h2o_iovec_t value = http1_value(head, &head->fields[i]);
        if (head->fields[i].id == NAME_CONNECTION &&
            !h2o_lcstris(value.base, value.len, "close", 5) &&
            !h2o_lcstris(value.base, value.len, "keep-alive", 10))
            drop_named(head, value);
    }
}

/* What has its meaning only before a body (RFC 9110 section 6.5.1): a receiver that merges trailers
 * into the head must not be misled. */
static const char *const head_only[] = {
    "cookie",
    "set-cookie",
    "content-type",
    "content-encoding",
    "content-range",
    "cache-control",
    "www-authenticate",
    "location",
    "vary",
    "range",
    "max-forwards",
    "if-match",
    "if-none-match",
    "origin",
    "age",
};

static bool trailer_forbidden(const char *lines, const struct http1_field *field)
{
    if (field->dropped || field->id != NAME_OTHER)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(head_only); i++)
        if (strlen(head_only[i]) == field->name_len &&
            folded_equal(lines + field->name, head_only[i], field->name_len))
            return true;
    return false;
}

int http1_check_trailers(char *lines, size_t *len)
{
    const struct http1_limits limits = {.fields = 1};
    struct http1_error error;
    struct http1_reader reader = {lines, *len, 0, &limits, &error};
    size_t out = 0;
    while (reader.at < reader.len) {
        struct http1_field field;
        struct http1_head head = {.base = lines, .fields = &field};
        size_t start = reader.at;
        if (read_field(&reader, &head) != HTTP1_DONE)
            return -1;
        if (trailer_forbidden(lines, &field))
            continue;
        memmove(lines + out, lines + start, reader.at - start);
        out += reader.at - start;
    }
    *len = out;
    return 0;
}

void http1_body_init(struct http1_body *body, enum http1_body_kind kind, uint64_t length)
{
    body->kind = kind;
    body->left = kind == BODY_LENGTH ? length : 0;
    body->ended = kind == BODY_NONE || (kind == BODY_LENGTH && length == 0);
    chunk_init(&body->chunks);
}

void http1_body_free(struct http1_body *body)
{
    chunk_free(&body->chunks);
}

int http1_body_read(struct http1_body *body, char *buf, size_t len, size_t *consumed, char **data,
                    size_t *data_len)
{
    *data = buf;
    *data_len = 0;
    *consumed = 0;
    if (body->ended)
        return 0;
    if (body->kind == BODY_CHUNKED) {
        enum chunk_result result = chunk_decode(&body->chunks, buf, len, consumed, data, data_len);
        if (result == CHUNK_END)
            body->ended = true;
        return result == CHUNK_ERROR ? -1 : 0;
    }
    size_t n = len;
    if (body->kind == BODY_LENGTH) {
        if (n > body->left)
            n = (size_t)body->left;
        body->left -= n;
        body->ended = body->left == 0;
    }
    *consumed = n;
    *data_len = n;
    return 0;
}
