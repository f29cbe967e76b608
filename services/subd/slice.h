/* How much of a quota one ask may have. */
#ifndef SUBD_SLICE_H
#define SUBD_SLICE_H

#include "libcommon/proto/sub.h"

/* `left` is what is not granted yet, `others` how many other journals hold a running lease on the
 * same quota. Between 0 and min(want, left); 0 only where one of them is. Slices shrink as the
 * quota does: an asker that is alone gets a quarter of what is left at most, so that one that comes
 * later finds something; with others about less, down to the smallest amount worth a message. */
int64_t slice_amount(enum sub_kind kind, int64_t want, int64_t left, int64_t others);

#endif
