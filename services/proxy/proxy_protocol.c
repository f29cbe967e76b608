/* Strict: one spelling of each header, nothing left to guess. TLVs are walked over, so that their
 * lengths add up, and not looked into. */
#include "services/proxy/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V1_MAX    107
#define V2_FIXED  16
#define V2_INET   12
#define V2_INET6  36
#define V2_UNIX   216
#define TLV_FIXED 3

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static unsigned number16(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    return (unsigned)byte[0] << 8 | byte[1];
}

static void set_v4(struct address *address, const char *bytes)
{
    memcpy(address->bytes, mapped, sizeof(mapped));
    memcpy(address->bytes + sizeof(mapped), bytes, 4);
}

/* The next word of a v1 line, and the separator behind it. */
static int word(const char **at, const char *end, char separator, char *out, size_t size)
{
    const char *stop = memchr(*at, separator, (size_t)(end - *at));
    size_t len = stop ? (size_t)(stop - *at) : 0;
    if (len == 0 || len >= size)
        return -1;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at = stop + 1;
    return 0;
}

static int parse_address(const char *text, bool v6, struct address *out)
{
    char v4[4];
    if (v6)
        return inet_pton(AF_INET6, text, out->bytes) == 1 ? 0 : -1;
    if (inet_pton(AF_INET, text, v4) != 1)
        return -1;
    set_v4(out, v4);
    return 0;
}

/* From 0 to 65535, without leading zeros. */
static int parse_port(const char *text, uint16_t *out)
{
    unsigned value = 0;
    size_t len = strlen(text);
    if (len > 5 || (len > 1 && text[0] == '0'))
        return -1;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9')
            return -1;
        value = value * 10 + (unsigned)(*c - '0');
    }
    *out = (uint16_t)value;
    return value <= UINT16_MAX ? 0 : -1;
}

/* "TCP4 source destination port port\r", between "PROXY " and the line feed. */
static int parse_v1_line(const char *at, const char *end, struct proxy_header *out)
{
    char text[4][48];
    if ((size_t)(end - at) >= 7 && memcmp(at, "UNKNOWN", 7) == 0)
        return at[7] == '\r' || at[7] == ' ' ? 0 : -1;
    bool v6 = memcmp(at, "TCP6 ", 5) == 0;
    if (!v6 && memcmp(at, "TCP4 ", 5) != 0)
        return -1;
    at += 5;
    if (word(&at, end, ' ', text[0], sizeof(text[0])) ||
        word(&at, end, ' ', text[1], sizeof(text[1])) ||
        word(&at, end, ' ', text[2], sizeof(text[2])) ||
        word(&at, end, '\r', text[3], sizeof(text[3])) || at != end)
        return -1;
    out->known = true;
    return parse_address(text[0], v6, &out->source) ||
                   parse_address(text[1], v6, &out->destination) ||
                   parse_port(text[2], &out->source_port) ||
                   parse_port(text[3], &out->destination_port)
               ? -1
               : 0;
}

static enum proxy_protocol_result parse_v1(const char *data, size_t len, struct proxy_header *out)
{
    size_t look = len < V1_MAX ? len : V1_MAX;
    const char *feed = memchr(data, '\n', look);
    if (!feed)
        return look == V1_MAX ? PROXY_PROTOCOL_BAD : PROXY_PROTOCOL_MORE;
    out->len = (size_t)(feed - data) + 1;
    /* The shortest that is compared below is "UNKNOWN\r". */
    if (out->len < 6 + 9 || feed[-1] != '\r' || memchr(data, '\r', out->len - 2))
        return PROXY_PROTOCOL_BAD;
    return parse_v1_line(data + 6, feed, out) ? PROXY_PROTOCOL_BAD : PROXY_PROTOCOL_DONE;
}

static int check_tlvs(const char *at, size_t left)
{
    while (left) {
        if (left < TLV_FIXED || number16(at + 1) > left - TLV_FIXED)
            return -1;
        size_t len = TLV_FIXED + number16(at + 1);
        at += len;
        left -= len;
    }
    return 0;
}

/* Only streams are proxied here. The length of the addresses, or -1. */
static int take_addresses(unsigned family, const char *at, size_t len, struct proxy_header *out)
{
    switch (family) {
    case 0x00: /* UNSPEC: whatever follows is to be ignored */
        return (int)len;
    case 0x11:
        if (len < V2_INET)
            return -1;
        set_v4(&out->source, at);
        set_v4(&out->destination, at + 4);
        out->source_port = (uint16_t)number16(at + 8);
        out->destination_port = (uint16_t)number16(at + 10);
        out->known = true;
        return V2_INET;
    case 0x21:
        if (len < V2_INET6)
            return -1;
        memcpy(out->source.bytes, at, 16);
        memcpy(out->destination.bytes, at + 16, 16);
        out->source_port = (uint16_t)number16(at + 32);
        out->destination_port = (uint16_t)number16(at + 34);
        out->known = true;
        return V2_INET6;
    case 0x31: /* a Unix socket: nothing that could be said of it later */
        return len < V2_UNIX ? -1 : V2_UNIX;
    default:
        return -1;
    }
}

static enum proxy_protocol_result parse_v2(const char *data, size_t len, struct proxy_header *out)
{
    if (len < V2_FIXED)
        return PROXY_PROTOCOL_MORE;
    unsigned command = (unsigned char)data[12];
    size_t body = number16(data + 14);
    if ((command != 0x20 && command != 0x21) || V2_FIXED + body > PROXY_PROTOCOL_MAX)
        return PROXY_PROTOCOL_BAD;
    if (len < V2_FIXED + body)
        return PROXY_PROTOCOL_MORE;
    out->len = V2_FIXED + body;
    if (command == 0x20) /* LOCAL: the rest is to be ignored */
        return PROXY_PROTOCOL_DONE;
    int used = take_addresses((unsigned char)data[13], data + V2_FIXED, body, out);
    if (used < 0 || check_tlvs(data + V2_FIXED + used, body - (size_t)used))
        return PROXY_PROTOCOL_BAD;
    return PROXY_PROTOCOL_DONE;
}

static bool begins(const char *data, size_t len, const char *with, size_t with_len)
{
    return memcmp(data, with, len < with_len ? len : with_len) == 0;
}

enum proxy_protocol_result proxy_protocol_parse(const char *data, size_t len,
                                                struct proxy_header *out)
{
    *out = (struct proxy_header){.known = false};
    if (len == 0)
        return PROXY_PROTOCOL_MORE;
    if (begins(data, len, signature, sizeof(signature)))
        return parse_v2(data, len, out);
    if (begins(data, len, "PROXY ", 6))
        return parse_v1(data, len, out);
    return PROXY_PROTOCOL_BAD;
}

static size_t write_v1(const struct proxy_header *header, bool v4, char *out)
{
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
    if (!header->known) {
        memcpy(out, "PROXY UNKNOWN\r\n", 15);
        return 15;
    }
    /* A mapped address among IPv6 ones stays one. */
    inet_ntop(v4 ? AF_INET : AF_INET6, header->source.bytes + (v4 ? 12 : 0), source,
              sizeof(source));
    inet_ntop(v4 ? AF_INET : AF_INET6, header->destination.bytes + (v4 ? 12 : 0), destination,
              sizeof(destination));
    int n =
        snprintf(out, PROXY_PROTOCOL_WRITE_MAX, "PROXY %s %s %s %u %u\r\n", v4 ? "TCP4" : "TCP6",
                 source, destination, header->source_port, header->destination_port);
    return (size_t)n;
}

static size_t write_v2(const struct proxy_header *header, bool v4, char *out)
{
    size_t body = header->known ? (v4 ? V2_INET : V2_INET6) : 0;
    size_t width = v4 ? 4 : 16;
    uint16_t ports[2] = {htons(header->source_port), htons(header->destination_port)};
    memcpy(out, signature, sizeof(signature));
    out[12] = header->known ? 0x21 : 0x20;
    out[13] = (char)(header->known ? (v4 ? 0x11 : 0x21) : 0);
    out[14] = 0;
    out[15] = (char)body;
    if (body) {
        memcpy(out + V2_FIXED, header->source.bytes + 16 - width, width);
        memcpy(out + V2_FIXED + width, header->destination.bytes + 16 - width, width);
        memcpy(out + V2_FIXED + 2 * width, ports, sizeof(ports));
    }
    return V2_FIXED + body;
}

size_t proxy_protocol_write(unsigned version, const struct proxy_header *header, char *out)
{
    bool v4 = address_is_v4(&header->source) && address_is_v4(&header->destination);
    return version == 1 ? write_v1(header, v4, out) : write_v2(header, v4, out);
}
