/*
 * cut_scan: the cut points of s512/1 in one window of a segment.
 *
 *     holes: every 4 KiB-aligned block of the segment (the last may be short) that is all zero; what lies between
 *     holes is a data extent
 *     cut one data extent [start, end):
 *         if end - start <= min: the rest is one chunk
 *         for i = start + min, then every 512, while i < start + max and i < end:
 *             skip i if the sector [i - 512, i) is all zero
 *             v = value(sector);  if v < threshold: cut at i
 *             if v < smallest so far (strictly, so the first of equals stays): remember i
 *         no cut found: if end - start <= max: the rest is one chunk
 *                       else cut at the remembered i (at start + max if every sector was zero)
 *         start = the cut; again
 *
 * Chunks never cross a hole. Chunk starts are multiples of 512, so only the last sector of a disk can be partial, and
 * it is never a candidate: i < end keeps it in the last chunk.
 *
 * The kernel knows nothing of Python, allocates nothing and keeps no state: any number of threads may share a rule.
 */
#ifndef INGOT_CUT_SCAN_H
#define INGOT_CUT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sector_value.h"

#define CUT_BLOCK_BYTES 4096
#define CUT_SECRETS_BYTES 1040 /* 256 NH keys of 4 bytes, then SipHash's 16, all little-endian */

struct cut_rule {
    struct sector_keys keys;
    uint64_t threshold;
    size_t min_bytes, max_bytes;
    sector_values *values;
};

/* The rule of a target mean: a power of two from one block up. */
void cut_rule_init(struct cut_rule *rule, const uint8_t secrets[CUT_SECRETS_BYTES], size_t average_bytes,
                   sector_values *values);

/* The bytes [origin, origin + length) of a segment. Positions everywhere are relative to the segment. `origin` is a
 * multiple of the block, and so is the end unless it is the segment's, which `final` says. */
struct cut_window {
    const uint8_t *data;
    size_t origin, length;
    bool final;
};

/* Where a resumed cut meets the old one: at a chunk start >= `last` that is among the `count` sorted boundaries. */
struct cut_meeting {
    size_t last;
    const uint32_t *boundaries;
    size_t count;
};

/* The caller's arrays, and how much of them is in use. */
struct cut_list {
    uint32_t *offsets, *lengths;
    size_t capacity, count;
};

enum cut_state {
    CUT_MET,   /* the position is an old boundary: the old list holds from here on */
    CUT_MORE,  /* go on at the position: with more data, or with more room if the list is full */
    CUT_ENDED, /* nothing remains in the segment */
};

/* Cuts from *position (origin <= *position <= the window's end) forward, appends to the list and leaves *position where
 * the scan stopped. A chunk is decided when a sector cuts it, or its extent is seen to end or to reach past its start +
 * max; a window that is not final and holds the whole block at *position + max always makes progress. */
enum cut_state cut_scan(const struct cut_rule *rule, const struct cut_window *window, const struct cut_meeting *meeting,
                        size_t *position, struct cut_list *list);

#endif
