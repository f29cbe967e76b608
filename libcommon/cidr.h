/* Networks in CIDR notation, and whether an address is in one. IPv4 addresses mapped into IPv6
 * count as IPv4. */
#ifndef LIBCOMMON_CIDR_H
#define LIBCOMMON_CIDR_H

#include "libcommon/config.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
    uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct cidr {
    struct address base;
    unsigned bits; /* of 128 */
};

struct cidr_list {
    struct cidr *items;
    size_t count;
};

int cidr_list_new(const struct config_list *texts, struct cidr_list *out, struct err *err) MUST_USE;
void cidr_list_free(struct cidr_list *list);
bool cidr_contains(const struct cidr_list *list, const struct address *address);

/* An address in text, with brackets and port or without. -1: it is not one. */
int address_read(const char *text, size_t len, struct address *out) MUST_USE;
void address_of(const struct sockaddr *sa, struct address *out);
/* Without brackets; out holds at least 46 bytes. Returns the length. */
size_t address_text(const struct address *address, char *out);
bool address_is_v4(const struct address *address);

#endif
