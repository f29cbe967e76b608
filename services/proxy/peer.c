/* Addresses of a connection, as the system tells them. */
#include "services/proxy/peer.h"

#include <netinet/in.h>
#include <string.h>

static uint16_t port_of(const struct sockaddr *sa)
{
    union {
        const struct sockaddr *any;
        const struct sockaddr_in *v4;
        const struct sockaddr_in6 *v6;
    } from = {.any = sa};

    if (sa->sa_family == AF_INET)
        return ntohs(from.v4->sin_port);
    return sa->sa_family == AF_INET6 ? ntohs(from.v6->sin6_port) : 0;
}

void peer_set(struct peer *peer, const struct sockaddr *sa)
{
    address_of(sa, &peer->address);
    peer->port = port_of(sa);
    if (sa->sa_family == AF_UNIX) {
        memcpy(peer->text, "unix", 4);
        peer->text_len = 4;
        return;
    }
    peer->text_len = (uint8_t)address_text(&peer->address, peer->text);
}

void peer_local(struct peer *peer, int fd)
{
    static const struct address unknown;
    struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
    void *sa = &storage;
    socklen_t len = sizeof(storage);
    if (memcmp(&peer->local, &unknown, sizeof(unknown)) != 0 || getsockname(fd, sa, &len))
        return;
    address_of(sa, &peer->local);
    peer->local_port = port_of(sa);
}
