/* Cuts a document into tokens, one at a time and without memory of its own. */
#include "services/proxy/graphql_lex.h"

#include <string.h>

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static char peek(const struct graphql_reader *reader, size_t ahead)
{
    return reader->len - reader->at > ahead ? reader->text[reader->at + ahead] : '\0';
}

static void skip_ignored(struct graphql_reader *reader)
{
    while (reader->at < reader->len) {
        char c = reader->text[reader->at];
        if (c == '#') {
            while (reader->at < reader->len && !strchr("\r\n", reader->text[reader->at]))
                reader->at++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',') {
            reader->at++;
        } else if (reader->len - reader->at >= 3 &&
                   memcmp(reader->text + reader->at, "\xef\xbb\xbf", 3) == 0) {
            reader->at += 3;
        } else {
            return;
        }
    }
}

static enum graphql_token_kind read_digits(struct graphql_reader *reader)
{
    if (!digit(peek(reader, 0)))
        return GRAPHQL_BAD;
    while (digit(peek(reader, 0)))
        reader->at++;
    return GRAPHQL_INT;
}

static enum graphql_token_kind read_number(struct graphql_reader *reader)
{
    enum graphql_token_kind kind = GRAPHQL_INT;
    if (peek(reader, 0) == '-')
        reader->at++;
    bool zero = peek(reader, 0) == '0';
    if (zero && digit(peek(reader, 1)))
        return GRAPHQL_BAD;
    if (read_digits(reader) == GRAPHQL_BAD)
        return GRAPHQL_BAD;
    if (peek(reader, 0) == '.') {
        reader->at++;
        kind = GRAPHQL_FLOAT;
        if (read_digits(reader) == GRAPHQL_BAD)
            return GRAPHQL_BAD;
    }
    if (peek(reader, 0) == 'e' || peek(reader, 0) == 'E') {
        reader->at++;
        kind = GRAPHQL_FLOAT;
        if (peek(reader, 0) == '+' || peek(reader, 0) == '-')
            reader->at++;
        if (read_digits(reader) == GRAPHQL_BAD)
            return GRAPHQL_BAD;
    }
    return letter(peek(reader, 0)) || peek(reader, 0) == '.' ? GRAPHQL_BAD : kind;
}

static enum graphql_token_kind read_block(struct graphql_reader *reader)
{
    reader->at += 3;
    for (; reader->at < reader->len; reader->at++) {
        if (reader->len - reader->at >= 4 &&
            memcmp(reader->text + reader->at, "\\\"\"\"", 4) == 0) {
            reader->at += 3;
        } else if (reader->len - reader->at >= 3 &&
                   memcmp(reader->text + reader->at, "\"\"\"", 3) == 0) {
            reader->at += 3;
            return GRAPHQL_STRING;
        }
    }
    return GRAPHQL_BAD;
}

static enum graphql_token_kind read_string(struct graphql_reader *reader)
{
    if (peek(reader, 1) == '"' && peek(reader, 2) == '"')
        return read_block(reader);
    for (reader->at++; reader->at < reader->len; reader->at++) {
        char c = reader->text[reader->at];
        if (c == '\r' || c == '\n')
            return GRAPHQL_BAD;
        if (c == '\\')
            reader->at++;
        else if (c == '"') {
            reader->at++;
            return GRAPHQL_STRING;
        }
    }
    reader->at = reader->len;
    return GRAPHQL_BAD;
}

static enum graphql_token_kind read_token(struct graphql_reader *reader)
{
    char c = peek(reader, 0);
    if (letter(c)) {
        while (letter(peek(reader, 0)) || digit(peek(reader, 0)))
            reader->at++;
        return GRAPHQL_NAME;
    }
    if (digit(c) || c == '-')
        return read_number(reader);
    if (c == '"')
        return read_string(reader);
    if (c == '.' && peek(reader, 1) == '.' && peek(reader, 2) == '.') {
        reader->at += 3;
        return GRAPHQL_SPREAD;
    }
    if (c && strchr("!$&():=@[]{|}", c)) {
        reader->at++;
        return GRAPHQL_PUNCT;
    }
    return GRAPHQL_BAD;
}

void graphql_next(struct graphql_reader *reader)
{
    struct graphql_token *token = &reader->token;
    skip_ignored(reader);
    token->text = reader->text + reader->at;
    token->len = 0;
    token->kind = GRAPHQL_END;
    if (reader->at == reader->len)
        return;
    size_t start = reader->at;
    token->kind = read_token(reader);
    token->len = reader->at - start;
}

void graphql_reader_init(struct graphql_reader *reader, const char *text, size_t len, size_t at)
{
    *reader = (struct graphql_reader){.text = text, .len = len, .at = at};
    graphql_next(reader);
}

bool graphql_is_punct(const struct graphql_reader *reader, char c)
{
    return reader->token.kind == GRAPHQL_PUNCT && reader->token.text[0] == c;
}

bool graphql_is_name(const struct graphql_reader *reader, const char *name)
{
    return reader->token.kind == GRAPHQL_NAME && reader->token.len == strlen(name) &&
           memcmp(reader->token.text, name, reader->token.len) == 0;
}

size_t graphql_token_at(const struct graphql_reader *reader)
{
    return (size_t)(reader->token.text - reader->text);
}
