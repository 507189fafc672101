#include "cut_scan.h"

#include <string.h>

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static size_t block_start(size_t offset) { return offset - offset % CUT_BLOCK_BYTES; }

/* Is the first byte zero, and every byte equal to its successor? memcmp leaves at the first difference, so data is
 * dismissed after a word or two, and it is the C library's fastest loop for the holes. */
static bool all_zero(const uint8_t *bytes, size_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static bool is_hole(const struct cut_window *window, size_t block)
{
    return all_zero(window->data + block, smaller(CUT_BLOCK_BYTES, window->length - block));
}

/* The first offset >= `from` that lies in no hole; the window's length if there is none. */
static size_t skip_holes(const struct cut_window *window, size_t from)
{
    for (size_t block = block_start(from); block < window->length && is_hole(window, block);) {
        block += CUT_BLOCK_BYTES;
        from = smaller(block, window->length);
    }
    return from;
}

/* How far the data that contains `from` reaches: to the next hole or the window's end, or just past `enough`. */
static size_t follow_data(const struct cut_window *window, size_t from, size_t enough)
{
    size_t block = block_start(from);
    while (block <= enough && block < window->length && !is_hole(window, block)) {
        block += CUT_BLOCK_BYTES;
    }
    return smaller(block, window->length);
}

/* The end of the chunk that begins at `start` in the data extent that ends at `end`; 0, which is no end, when the
 * extent is `open`, i.e. may go on behind `end`, and what lies there decides. */
static size_t next_cut(const struct cut_rule *rule, const uint8_t *data, size_t start, size_t end, bool open)
{
    const size_t limit = start + rule->max_bytes;
    const size_t stop = smaller(limit, end);
    size_t smallest_at = 0; /* none yet: no cut is at 0 */
    uint64_t smallest = 0;

    for (size_t i = start + rule->min_bytes; i < stop; i += SECTOR_BATCH * SECTOR_BYTES) {
        const size_t count = smaller(SECTOR_BATCH, (stop - i + SECTOR_BYTES - 1) / SECTOR_BYTES);
        const uint8_t *sectors = data + i - SECTOR_BYTES;
        uint64_t values[SECTOR_BATCH];
        rule->values(&rule->keys, sectors, count, values);

        for (size_t k = 0; k < count; k++) {
            const bool cuts = values[k] < rule->threshold;
            if (!cuts && smallest_at != 0 && values[k] >= smallest) {
                continue;
            }
            /* Zero sectors are no candidates. Asked last, because only these few values matter. */
            if (all_zero(sectors + k * SECTOR_BYTES, SECTOR_BYTES)) {
                continue;
            }
            smallest_at = i + k * SECTOR_BYTES;
            smallest = values[k];
            if (cuts) {
                return smallest_at;
            }
        }
    }
    if (open) {
        return 0;
    }
    if (end <= limit) {
        return end;
    }
    return smallest_at != 0 ? smallest_at : limit;
}

void cut_rule_init(struct cut_rule *rule, const uint8_t secrets[CUT_SECRETS_BYTES], size_t average_bytes,
                   sector_values *values)
{
    memcpy(rule->keys.nh, secrets, sizeof rule->keys.nh);
    memcpy(rule->keys.sip, secrets + sizeof rule->keys.nh, sizeof rule->keys.sip);
    rule->min_bytes = average_bytes / 2;
    rule->max_bytes = average_bytes * 2;
    rule->threshold = UINT64_MAX / rule->min_bytes * SECTOR_BYTES;
    rule->values = values;
}

enum cut_state cut_scan(const struct cut_rule *rule, const struct cut_window *window, const struct cut_meeting *meeting,
                        size_t *position, struct cut_list *list)
{
    size_t start = *position - window->origin; /* in here, offsets are the window's */
    size_t solid = start;                      /* [start, solid) is known to be data of one extent */
    size_t boundary = 0;
    enum cut_state state = CUT_MORE;

    for (;;) {
        if (start == solid) {
            start = solid = skip_holes(window, start);
            if (start == window->length) {
                state = window->final ? CUT_ENDED : CUT_MORE;
                break;
            }
        }
        const size_t at = window->origin + start;
        while (boundary < meeting->count && meeting->boundaries[boundary] < at) {
            boundary++;
        }
        if (at >= meeting->last && boundary < meeting->count && meeting->boundaries[boundary] == at) {
            state = CUT_MET;
            break;
        }
        if (list->count == list->capacity) {
            break;
        }
        const size_t enough = start + rule->max_bytes;
        solid = follow_data(window, solid, enough);
        const bool open = solid <= enough && solid == window->length && !window->final;
        const size_t end = next_cut(rule, window->data, start, solid, open);
        if (end == 0) {
            break;
        }
        list->offsets[list->count] = (uint32_t)at;
        list->lengths[list->count] = (uint32_t)(end - start);
        list->count++;
        start = end;
    }
    *position = window->origin + start;
    return state;
}
