/* The counter of events: the same however the stream is cut, and as a plain reading of it says. */
#include "services/proxy/sse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t count(const uint8_t *data, size_t size, size_t cut)
{
    struct sse sse;
    uint64_t sum = 0;
    sse_init(&sse);
    for (size_t at = 0; at < size; at += cut)
        sum += sse_feed(&sse, (const char *)data + at, size - at < cut ? size - at : cut);
    if (sum != sse.events || strlen(sse_finish(&sse)) > 2)
        abort();
    return sum;
}

/* Line by line, with the whole stream in hand. */
static uint64_t model(const uint8_t *data, size_t size)
{
    uint64_t events = 0;
    bool open = false;
    size_t at = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size) {
        size_t end = at;
        while (end < size && data[end] != '\n' && data[end] != '\r')
            end++;
        if (end == size)
            break;
        if (end == at) {
            events += open;
            open = false;
        } else if (end - at >= 4 && memcmp(data + at, "data", 4) == 0 &&
                   (end - at == 4 || data[at + 4] == ':')) {
            open = true;
        }
        at = end + (data[end] == '\r' && end + 1 < size && data[end + 1] == '\n' ? 2 : 1);
    }
    return events;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t expected = model(data, size);
    if (count(data, size, size + 1) != expected || count(data, size, 1) != expected ||
        count(data, size, 3) != expected)
        abort();
    return 0;
}
