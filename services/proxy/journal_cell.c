/* Identities of cells: how they are stored, published and checked. */
#include "services/proxy/journal_cell.h"

#include "libcommon/eth/hex.h"
#include "services/proxy/token_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t checksum(const struct journal_key *key)
{
    static const uint8_t fixed[16] = "octroi journal 1";
    return token_cache_hash(fixed, key, sizeof(*key));
}

void journal_key_of(const struct journal_identity *identity, struct journal_key *key)
{
    memset(key, 0, sizeof(*key));
    for (int i = 0; i < 16; i++) {
        char digits[3] = {identity->sub[4 + 2 * i], identity->sub[5 + 2 * i], 0};
        key->sub[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    key->lease = identity->lease;
    key->period = identity->period;
    key->day =
        atoi(identity->day) * 10000 + atoi(identity->day + 5) * 100 + atoi(identity->day + 8);
}

void journal_key_text(const struct journal_key *key, struct journal_identity *identity)
{
    char day[40];
    memcpy(identity->sub, "sub_", 4);
    hex_encode_bare(key->sub, sizeof(key->sub), identity->sub + 4);
    identity->lease = key->lease;
    identity->period = key->period;
    snprintf(day, sizeof(day), "%04d-%02d-%02d", key->day / 10000, key->day / 100 % 100,
             key->day % 100);
    memcpy(identity->day, day, sizeof(identity->day) - 1);
    identity->day[10] = '\0';
}

void journal_cell_write(struct journal_cell *cell, const struct journal_identity *identity)
{
    uint32_t generation = cell->key.generation + 1;
    journal_key_of(identity, &cell->key);
    cell->key.generation = generation;
    cell->check = checksum(&cell->key);
    atomic_store_explicit(&cell->valid, 1, memory_order_release);
}

void journal_cell_clear(struct journal_cell *cell)
{
    atomic_store_explicit(&cell->valid, 0, memory_order_seq_cst);
    for (int i = 0; i < JOURNAL_COUNTERS; i++)
        atomic_store_explicit(&cell->counters[i], 0, memory_order_release);
}

bool journal_cell_valid(const struct journal_cell *cell)
{
    return atomic_load_explicit(&cell->valid, memory_order_acquire) != 0;
}

bool journal_cell_sound(const struct journal_cell *cell)
{
    return cell->check == checksum(&cell->key) && cell->key.lease > 0 && cell->key.day >= 10101 &&
           cell->key.day <= 99991231;
}
