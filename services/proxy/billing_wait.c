/* Intrusive circular lists: a request that goes away takes itself out, whoever is walking. */
#include "services/proxy/billing_wait.h"

void billing_link_remove(struct billing_link *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}

void billing_link_append(struct billing_waits *waits, struct billing_link *link)
{
    link->prev = waits->head.prev;
    link->next = &waits->head;
    waits->head.prev->next = link;
    waits->head.prev = link;
}

void billing_waits_init(struct billing_waits *waits)
{
    waits->head.prev = waits->head.next = &waits->head;
}

bool billing_waits_empty(const struct billing_waits *waits)
{
    return waits->head.next == &waits->head;
}

size_t billing_waits_count(const struct billing_waits *waits)
{
    size_t count = 0;
    for (const struct billing_link *l = waits->head.next; l != &waits->head; l = l->next)
        count++;
    return count;
}

void billing_wait_park(struct billing_wait *wait, struct billing_waits *waits,
                       struct billing_waits *ages)
{
    billing_link_append(waits, &wait->link);
    if (!wait->age.next)
        billing_link_append(ages, &wait->age);
}

void billing_wait_leave(struct billing_wait *wait)
{
    billing_link_remove(&wait->link);
    billing_link_remove(&wait->age);
}

struct billing_wait *billing_waits_pop(struct billing_waits *waits)
{
    struct billing_link *link = waits->head.next;
    if (link == &waits->head)
        return NULL;
    billing_link_remove(link);
    return (struct billing_wait *)((char *)link - offsetof(struct billing_wait, link));
}

struct billing_wait *billing_waits_oldest(const struct billing_waits *ages)
{
    struct billing_link *link = ages->head.next;
    if (link == &ages->head)
        return NULL;
    return (struct billing_wait *)((char *)link - offsetof(struct billing_wait, age));
}

void billing_waits_move(struct billing_waits *to, struct billing_waits *from)
{
    struct billing_link *link;
    while ((link = from->head.next) != &from->head) {
        billing_link_remove(link);
        billing_link_append(to, link);
    }
}
