/* Addresses are kept as 16 bytes, so that one comparison serves both families. */
#include "libcommon/cidr.h"

#include "libcommon/mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static int parse_text(const char *text, struct address *out)
{
    if (inet_pton(AF_INET6, text, out->bytes) == 1)
        return 0;
    memcpy(out->bytes, mapped, sizeof(mapped));
    return inet_pton(AF_INET, text, out->bytes + 12) == 1 ? 0 : -1;
}

bool address_is_v4(const struct address *address)
{
    return memcmp(address->bytes, mapped, sizeof(mapped)) == 0;
}

static int parse_cidr(const char *text, struct cidr *out, struct err *err)
{
    char address[INET6_ADDRSTRLEN + 1];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof(address))
        return err_set(err, "%s is not a network", text);
    memcpy(address, text, len);
    address[len] = '\0';
    if (parse_text(address, &out->base))
        return err_set(err, "%s is not a network", text);
    unsigned family_bits = strchr(address, ':') ? 128 : 32;
    char *end = NULL;
    unsigned long bits = slash ? strtoul(slash + 1, &end, 10) : family_bits;
    if (slash && (*end || end == slash + 1 || bits > family_bits))
        return err_set(err, "%s: the prefix length is from 0 to %u", text, family_bits);
    out->bits = (unsigned)bits + 128 - family_bits;
    return 0;
}

int cidr_list_new(const struct config_list *texts, struct cidr_list *out, struct err *err)
{
    const char *const *items = texts->items;
    out->items = mem_array(texts->count + 1, sizeof(*out->items));
    for (out->count = 0; out->count < texts->count; out->count++) {
        if (parse_cidr(items[out->count], &out->items[out->count], err)) {
            cidr_list_free(out);
            return err_wrap(err, "trusted_proxies");
        }
    }
    return 0;
}

void cidr_list_free(struct cidr_list *list)
{
    free(list->items);
    list->items = NULL;
    list->count = 0;
}

static bool matches(const struct cidr *cidr, const struct address *address)
{
    unsigned bytes = cidr->bits / 8, rest = cidr->bits % 8;
    if (memcmp(cidr->base.bytes, address->bytes, bytes) != 0)
        return false;
    return rest == 0 || ((cidr->base.bytes[bytes] ^ address->bytes[bytes]) >> (8 - rest)) == 0;
}

bool cidr_contains(const struct cidr_list *list, const struct address *address)
{
    for (size_t i = 0; i < list->count; i++)
        if (matches(&list->items[i], address))
            return true;
    return false;
}

int address_read(const char *text, size_t len, struct address *out)
{
    char copy[INET6_ADDRSTRLEN + 1];
    if (len > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', len);
        if (!end)
            return -1;
        text++;
        len = (size_t)(end - text);
    } else {
        const char *colon = memchr(text, ':', len);
        if (colon && !memchr(colon + 1, ':', len - (size_t)(colon + 1 - text)))
            len = (size_t)(colon - text);
    }
    if (len == 0 || len >= sizeof(copy))
        return -1;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return parse_text(copy, out);
}

void address_of(const struct sockaddr *sa, struct address *out)
{
    const void *bytes = sa;
    if (sa->sa_family == AF_INET6) {
        memcpy(out->bytes, &((const struct sockaddr_in6 *)bytes)->sin6_addr, 16);
        return;
    }
    memcpy(out->bytes, mapped, sizeof(mapped));
    if (sa->sa_family == AF_INET)
        memcpy(out->bytes + 12, &((const struct sockaddr_in *)bytes)->sin_addr, 4);
    else
        memset(out->bytes + 12, 0, 4);
}

size_t address_text(const struct address *address, char *out)
{
    if (address_is_v4(address)) {
        const uint8_t *b = address->bytes + 12;
        return (size_t)sprintf(out, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
    }
    inet_ntop(AF_INET6, address->bytes, out, INET6_ADDRSTRLEN);
    return strlen(out);
}
