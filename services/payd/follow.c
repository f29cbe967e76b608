/* The follower's algorithm. Near the head each block is read by number, must name the block before
 * it as its parent, and its events are asked for by its hash: a node that does not have the block
 * says so, whereas a question by number to a node that lags is answered with nothing. Further down
 * events are read in ranges, framed by two readings of the range's last block. A block of ours that
 * the chain does not have leads back to the newest one that it has. */
#include "services/payd/follow.h"

#include <string.h>

#define STEP_EVENTS 500 /* with more, fewer blocks are read: a step stays short */

struct follow {
    struct follow_options options;
    struct follow_cursor at;
    int64_t head;
    int64_t range;
    int64_t closely; /* up to here blocks are read one by one: in a range something was wrong */
};

struct follow *follow_new(const struct follow_options *options, const struct follow_cursor *at)
{
    struct follow *follow = mem_zalloc(sizeof(*follow));
    follow->options = *options;
    follow->at = *at;
    follow->head = at->number;
    follow->range = options->range;
    follow->closely = -1;
    return follow;
}

void follow_free(struct follow **follow)
{
    free(*follow);
    *follow = NULL;
}

const struct follow_cursor *follow_at(const struct follow *follow)
{
    return &follow->at;
}

int64_t follow_head(const struct follow *follow)
{
    return follow->head;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static struct follow_cursor cursor_of(const struct evm_block *block)
{
    struct follow_cursor cursor = {.number = block->number};
    memcpy(cursor.hash, block->hash, sizeof(cursor.hash));
    return cursor;
}

static int chain_block(struct follow *follow, int64_t number, struct evm_block *out, bool *found,
                       struct err *err)
{
    const struct follow_chain *chain = follow->options.chain;
    if (chain->block(chain->ctx, number, out, found, err) != 0)
        return -1;
    if (*found && out->number != number)
        return err_set(err, "asked for block %lld, got %lld", (long long)number,
                       (long long)out->number);
    return 0;
}

/* A block that must be there because the head is above it. */
static int chain_block_must(struct follow *follow, int64_t number, struct evm_block *out,
                            struct err *err)
{
    bool found;
    if (chain_block(follow, number, out, &found, err) != 0)
        return -1;
    return found ? 0
                 : err_set(err, "the node has no block %lld, and told of a head above it",
                           (long long)number);
}

/* Whether the chain still has a block of ours; a block above its head it has not. */
static int still_there(struct follow *follow, const struct evm_block *ours, bool *there,
                       struct err *err)
{
    struct evm_block theirs;
    bool found;
    *there = false;
    if (chain_block(follow, ours->number, &theirs, &found, err) != 0)
        return -1;
    if (!found && ours->number <= follow->head)
        return err_set(err, "the node has no block %lld below its head", (long long)ours->number);
    *there = found && same(theirs.hash, ours->hash);
    return 0;
}

static int kept(struct follow *follow, int64_t at_most, struct evm_block *out, bool *found,
                struct err *err)
{
    const struct follow_store *store = follow->options.store;
    return store->kept(store->ctx, at_most, out, found, err);
}

/* The search for the newest kept block that the chain has: those it has are below all that it has
 * not. Numbers up to `low` need no look, those from `high` are gone. */
struct search {
    int64_t low, high;
    struct evm_block best, gone; /* gone: the lowest that is not there */
    bool found;
};

static int search_look(struct follow *follow, struct search *search, int64_t at, struct err *err)
{
    struct evm_block block;
    bool any, there;
    if (kept(follow, at, &block, &any, err) != 0)
        return -1;
    if (!any || block.number <= search->low) {
        search->low = at;
        return 0;
    }
    if (still_there(follow, &block, &there, err) != 0)
        return -1;
    if (there) {
        search->best = block;
        search->found = true;
        search->low = at;
    } else {
        search->high = block.number;
        search->gone = block;
    }
    return 0;
}

/* Another chain's node may have answered for a while: no more may be taken back than what ours
 * does not have. */
static int search_check(struct follow *follow, const struct search *search, struct err *err)
{
    const struct follow_chain *chain = follow->options.chain;
    bool there = false;
    if (chain->ours != NULL && chain->ours(chain->ctx, err) != 0)
        return err_wrap(err, "blocks that we hold are not there");
    if (search->gone.hash[0] != '\0' && still_there(follow, &search->gone, &there, err) != 0)
        return -1;
    return there ? err_set(err, "the node changed its chain to and fro") : 0;
}

/* *gone: the lowest block of ours above it that is not there. */
static int ancestor(struct follow *follow, struct follow_cursor *out, struct follow_cursor *gone,
                    struct err *err)
{
    struct search search = {.low = -1, .high = follow->at.number + 1};
    /* Most reorganisations are shallow: look near the top in growing steps, then between. */
    for (int64_t step = 1; !search.found && search.high - 1 > search.low; step *= 2) {
        int64_t at = search.high - step > search.low ? search.high - step : search.low + 1;
        int64_t low = search.low;
        if (search_look(follow, &search, at, err) != 0)
            return -1;
        if (search.low != low)
            break;
    }
    while (search.high - search.low > 1) {
        int64_t middle = search.low + (search.high - search.low) / 2;
        if (search_look(follow, &search, middle, err) != 0)
            return -1;
    }
    *out = (struct follow_cursor){.number = follow->options.first - 1};
    if (search.found)
        *out = cursor_of(&search.best);
    *gone = search.gone.hash[0] == '\0' ? follow->at : cursor_of(&search.gone);
    return search_check(follow, &search, err);
}

/* The tag's block and our newest one must be of one chain: ours is looked at again after the tag
 * was read, or blocks of a chain that is gone would be confirmed by the number of another's. */
static int ceiling_now(struct follow *follow, const struct follow_cursor *newest, int64_t *out,
                       struct err *err)
{
    const struct follow_chain *chain = follow->options.chain;
    struct evm_block ours = {.number = newest->number};
    bool there = true;
    *out = INT64_MAX;
    if (chain->ceiling == NULL)
        return 0;
    memcpy(ours.hash, newest->hash, sizeof(ours.hash));
    if (chain->ceiling(chain->ctx, out, err) != 0 ||
        (ours.hash[0] != '\0' && still_there(follow, &ours, &there, err) != 0))
        return -1;
    return there ? 0 : err_set(err, "the chain changed while it was read");
}

static int roll_back(struct follow *follow, enum follow_progress *progress, struct err *err)
{
    const struct follow_chain *chain = follow->options.chain;
    const struct follow_store *store = follow->options.store;
    struct follow_cursor to, gone;
    /* Nothing is confirmed while blocks are being exchanged. */
    struct follow_view view = {follow->head, -1};
    if (ancestor(follow, &to, &gone, err) != 0)
        return err_wrap(err, "search for the common ancestor");
    if (to.number >= follow->at.number)
        return err_set(err, "the node changed its chain to and fro");
    if (chain->gone != NULL && chain->gone(chain->ctx, &gone, to.number, err) != 0)
        return -1;
    if (store->rollback(store->ctx, &follow->at, &to, &view, err) != 0)
        return -1;
    follow->at = to;
    *progress = FOLLOW_ROLLED_BACK;
    return 0;
}

/* Looks at our newest block again and rolls back where it is gone. */
static int roll_back_if_gone(struct follow *follow, enum follow_progress *progress, struct err *err)
{
    struct evm_block ours = {.number = follow->at.number};
    bool there;
    memcpy(ours.hash, follow->at.hash, sizeof(ours.hash));
    if (still_there(follow, &ours, &there, err) != 0)
        return -1;
    if (there)
        return err_set(err, "the chain changed while it was read");
    return roll_back(follow, progress, err);
}

static int advance(struct follow *follow, struct follow_batch *batch, struct err *err)
{
    const struct follow_store *store = follow->options.store;
    struct follow_view view = {.head = follow->head};
    batch->to = cursor_of(&batch->blocks[batch->block_count - 1]);
    if (ceiling_now(follow, &batch->to, &view.ceiling, err) != 0 ||
        store->advance(store->ctx, &follow->at, batch, &view, err) != 0)
        return -1;
    follow->at = batch->to;
    return 0;
}

static void batch_clear(struct follow_batch *batch)
{
    free(batch->blocks);
    evm_events_clear(&batch->events);
}

static int events_of(struct follow *follow, const struct evm_block *block,
                     struct evm_events *events, struct err *err)
{
    const struct follow_chain *chain = follow->options.chain;
    AUTO_EVM_EVENTS struct evm_events more = {0};
    if (chain->events_of(chain->ctx, block->hash, &more, err) != 0)
        return -1;
    for (size_t i = 0; i < more.count; i++) {
        if (more.items[i].block != block->number || !same(more.items[i].block_hash, block->hash))
            return err_set(err, "block %lld: an event of another block", (long long)block->number);
    }
    evm_events_append(events, &more);
    return 0;
}

/* Reads blocks one by one; *unlinked: the first one's parent is not our cursor. */
static int tail_read(struct follow *follow, struct follow_batch *batch, int64_t last,
                     bool *unlinked, struct err *err)
{
    const char *parent = follow->at.hash;
    *unlinked = false;
    for (int64_t number = follow->at.number + 1;
         number <= last && batch->events.count <= STEP_EVENTS; number++) {
        struct evm_block *block = &batch->blocks[batch->block_count];
        if (chain_block_must(follow, number, block, err) != 0)
            return -1;
        if (parent[0] != '\0' && !same(block->parent, parent)) {
            *unlinked = batch->block_count == 0;
            return err_set(err, "block %lld: its parent is not the block before it",
                           (long long)number);
        }
        /* What was read before a block whose events cannot be had is kept: the next step begins
         * with that block, so that tries at one are not undone by another. */
        if (events_of(follow, block, &batch->events, err) != 0)
            return batch->block_count > 0 ? 0 : -1;
        parent = block->hash;
        batch->block_count++;
    }
    return 0;
}

static int step_tail(struct follow *follow, enum follow_progress *progress, struct err *err)
{
    int64_t last = follow->at.number + follow->options.batch;
    if (last > follow->head)
        last = follow->head;
    struct follow_batch batch CLEANUP(batch_clear) = {0};
    batch.blocks = mem_array((size_t)(last - follow->at.number), sizeof(*batch.blocks));
    bool unlinked;
    if (tail_read(follow, &batch, last, &unlinked, err) != 0)
        return unlinked ? roll_back_if_gone(follow, progress, err) : -1;
    bool all = batch.blocks[batch.block_count - 1].number == follow->head;
    *progress = all ? FOLLOW_CURRENT : FOLLOW_MORE;
    return advance(follow, &batch, err);
}

/* The headers of the blocks that have events; each must be the block that the events name. */
static int range_headers(struct follow *follow, struct follow_batch *batch, int64_t from,
                         int64_t to, struct err *err)
{
    batch->blocks = mem_array(batch->events.count + 1, sizeof(*batch->blocks));
    for (size_t i = 0; i < batch->events.count; i++) {
        const struct evm_event *event = &batch->events.items[i];
        struct evm_block *block = &batch->blocks[batch->block_count];
        if (event->block < from || event->block > to)
            return err_set(err, "an event of block %lld, which was not asked for",
                           (long long)event->block);
        if (batch->block_count > 0 && block[-1].number == event->block)
            block--;
        else if (chain_block_must(follow, event->block, block, err) != 0)
            return -1;
        else
            batch->block_count++;
        if (!same(block->hash, event->block_hash))
            return err_set(err, "block %lld: an event of another block", (long long)event->block);
    }
    return 0;
}

static void batch_end(struct follow_batch *batch, const struct evm_block *edge)
{
    size_t n = batch->block_count;
    if (n == 0 || batch->blocks[n - 1].number != edge->number)
        batch->blocks[batch->block_count++] = *edge;
}

static int range_read(struct follow *follow, struct follow_batch *batch, int64_t from, int64_t to,
                      struct err *err)
{
    const struct follow_chain *chain = follow->options.chain;
    bool too_much = false;
    if (chain->events_in(chain->ctx, from, to, &batch->events, &too_much, err) == 0) {
        if (batch->events.count <= STEP_EVENTS || from == to)
            return range_headers(follow, batch, from, to, err);
        too_much = true;
    }
    if (too_much)
        follow->range = follow->range > 1 ? (to - from + 2) / 2 : 1;
    return -1;
}

/* As long as the last steps went well with, and as the node is known to answer. */
static int64_t range_now(const struct follow *follow)
{
    const struct follow_chain *chain = follow->options.chain;
    int64_t most = chain->range == NULL ? INT64_MAX : chain->range(chain->ctx);
    int64_t range = follow->range < follow->options.range ? follow->range : follow->options.range;
    return most < range ? most : range;
}

/* The range's last block is read before and after everything else: if it is the same, everything
 * below it was so all the time between. */
static int step_range(struct follow *follow, enum follow_progress *progress, struct err *err)
{
    int64_t from = follow->at.number + 1, to = follow->at.number + range_now(follow);
    if (to > follow->head - follow->options.tail)
        to = follow->head - follow->options.tail;
    struct evm_block edge, again, ours = {.number = follow->at.number};
    bool there = true;
    memcpy(ours.hash, follow->at.hash, sizeof(ours.hash));
    struct follow_batch batch CLEANUP(batch_clear) = {0};
    int64_t range = follow->range;
    if (chain_block_must(follow, to, &edge, err) != 0 ||
        (ours.hash[0] != '\0' && still_there(follow, &ours, &there, err) != 0))
        return -1;
    if (!there)
        return roll_back(follow, progress, err);
    *progress = FOLLOW_MORE;
    if (range_read(follow, &batch, from, to, err) != 0)
        return follow->range < range ? 0 : -1;
    if (chain_block_must(follow, to, &again, err) != 0)
        return -1;
    if (!same(again.hash, edge.hash))
        return err_set(err, "the chain changed while it was read");
    batch_end(&batch, &edge);
    if (follow->range < follow->options.range)
        follow->range += follow->range / 8 + 1;
    return advance(follow, &batch, err);
}

/* The node's head is below our cursor: it lags, or its chain is another one. Only a block that
 * differs tells: a shorter chain of the same blocks takes nothing back. */
static int step_behind(struct follow *follow, enum follow_progress *progress, struct err *err)
{
    struct evm_block ours;
    bool any, there = true;
    if (kept(follow, follow->head, &ours, &any, err) != 0 ||
        (any && still_there(follow, &ours, &there, err) != 0))
        return -1;
    if (!there)
        return roll_back(follow, progress, err);
    return err_set(err, "the node is %lld blocks behind what we have read",
                   (long long)(follow->at.number - follow->head));
}

static int step_current(struct follow *follow, enum follow_progress *progress, struct err *err)
{
    const struct follow_store *store = follow->options.store;
    struct follow_view view = {.head = follow->head};
    *progress = FOLLOW_CURRENT;
    if (ceiling_now(follow, &follow->at, &view.ceiling, err) != 0)
        return -1;
    return store->settle(store->ctx, &follow->at, &view, err);
}

int follow_step(struct follow *follow, enum follow_progress *progress, struct err *err)
{
    const struct follow_chain *chain = follow->options.chain;
    struct evm_block latest;
    if (chain->latest(chain->ctx, &latest, err) != 0)
        return -1;
    follow->head = latest.number;
    if (latest.number < follow->at.number)
        return step_behind(follow, progress, err);
    if (latest.number > follow->at.number) {
        bool far = latest.number - follow->at.number > follow->options.tail &&
                   follow->at.number >= follow->closely;
        return far ? step_range(follow, progress, err) : step_tail(follow, progress, err);
    }
    if (follow->at.hash[0] != '\0' && !same(latest.hash, follow->at.hash))
        return roll_back(follow, progress, err);
    return step_current(follow, progress, err);
}

int follow_forget(struct follow *follow, int64_t number, struct err *err)
{
    const struct follow_store *store = follow->options.store;
    struct follow_cursor to = {.number = follow->options.first - 1};
    struct follow_view view = {follow->head, -1};
    struct evm_block before;
    bool found;
    if (number > follow->at.number)
        return 0;
    if (kept(follow, number - 1, &before, &found, err) != 0)
        return -1;
    if (found)
        to = cursor_of(&before);
    if (store->rollback(store->ctx, &follow->at, &to, &view, err) != 0)
        return -1;
    follow->at = to;
    follow->closely = number;
    return 0;
}
