/* PROXY headers: no input may make the parser read outside it, a result does not depend on how the
 * bytes came, and what it understood is written and read back the same. */
#include "services/proxy/proxy_protocol.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(const struct proxy_header *header)
{
    for (unsigned version = 1; version <= 2; version++) {
        struct proxy_header again;
        char out[PROXY_PROTOCOL_WRITE_MAX];
        size_t len = proxy_protocol_write(version, header, out);
        assert(proxy_protocol_parse(out, len, &again) == PROXY_PROTOCOL_DONE && again.len == len);
        assert(again.known == header->known);
        assert(memcmp(&again.source, &header->source, sizeof(again.source)) == 0);
        assert(again.destination_port == header->destination_port);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header, part;
    const char *bytes = (const char *)data;
    enum proxy_protocol_result result = proxy_protocol_parse(bytes, size, &header);
    if (result == PROXY_PROTOCOL_MORE)
        assert(size < PROXY_PROTOCOL_MAX);
    if (result != PROXY_PROTOCOL_DONE)
        return 0;
    assert(header.len <= size && header.len <= PROXY_PROTOCOL_MAX);
    for (size_t len = 0; len < header.len; len++)
        assert(proxy_protocol_parse(bytes, len, &part) == PROXY_PROTOCOL_MORE);
    check_written(&header);
    return 0;
}
