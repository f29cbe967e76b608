/* Gaps in the changes. */
#include "services/proxy/billing_head.h"

#define PATIENCE_NS (1000LL * 1000 * 1000)

bool billing_head_changed(struct billing_head *head, int64_t number)
{
    bool gap = head->known && number > head->seen + 1;
    if (!head->known || number > head->seen)
        head->seen = number;
    head->known = true;
    head->ahead_ns = 0;
    return gap;
}

bool billing_head_beat(struct billing_head *head, int64_t number, int64_t now_ns)
{
    if (!head->known) {
        head->known = true;
        head->seen = number;
        return false;
    }
    if (number <= head->seen) {
        head->ahead_ns = 0;
        return false;
    }
    if (!head->ahead_ns)
        head->ahead_ns = now_ns;
    if (now_ns - head->ahead_ns < PATIENCE_NS)
        return false;
    head->seen = number;
    head->ahead_ns = 0;
    return true;
}
