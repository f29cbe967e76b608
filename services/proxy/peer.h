/* Who is at the other end of a client's connection, and by which door it came in. Filled by ingress
 * (from the socket, or from what a PROXY header said), copied into the connection, constant then.
 */
#ifndef PROXY_PEER_H
#define PROXY_PEER_H

#include "services/proxy/cidr.h"

struct listener_config;

struct peer {
    struct address address, local; /* local: all zero where nobody has asked yet (peer_local) */
    char text[48];                 /* of address, not terminated */
    uint8_t text_len;
    bool tls, client_verified;
    uint16_t port, local_port;
    const struct listener_config *listener; /* while the connection is made: a reload frees it */
    const char *tls_version, *tls_cipher,
        *sni; /* live as long as the connection; sni may be NULL */
};

void peer_set(struct peer *peer, const struct sockaddr *sa);
/* Fills `local`, by a system call where nobody has said it. */
void peer_local(struct peer *peer, int fd);

#endif
