/*
 * sanitize: both kernels over buffers of exactly their size, for a build with the address and undefined sanitizers.
 *
 * Every variant that runs here must touch no byte outside its arguments and must agree with the plain one: the cut with
 * the scalar kernel and with itself in windows, the lanes with one message at a time. Exits 1 at the first difference.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cut_scan.h"
#include "sha256_lanes.h"

#define REQUIRE(condition)                                                                    \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);         \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

static uint64_t seed = 20260101;

/* xorshift64* */
static uint64_t draw(uint64_t below)
{
    seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
    return (seed * 0x2545f4914f6cdd1d >> 32) % below;
}

static void *exactly(size_t bytes)
{
    void *memory = malloc(bytes);
    REQUIRE(memory != NULL || bytes == 0);
    return memory;
}

/* A copy that begins `shift` bytes behind an aligned address and ends with its allocation. */
static uint8_t *exact_copy(const uint8_t *bytes, size_t length, size_t shift)
{
    uint8_t *memory = exactly(length + shift);
    memcpy(memory + shift, bytes, length);
    return memory;
}

/* Runs of random, repeated and zero sectors and of holes. */
static void fill(uint8_t *data, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t run = (1 + draw(24)) * SECTOR_BYTES;
        const uint64_t kind = draw(4);
        run = run < length - at ? run : length - at;
        for (size_t i = 0; i < run; i++) {
            const bool repeats = kind == 1 && i >= SECTOR_BYTES;
            data[at + i] = kind == 0 ? 0 : repeats ? data[at + i - SECTOR_BYTES] : (uint8_t)draw(256);
        }
        at += run;
    }
}

static struct cut_list room(size_t capacity)
{
    const size_t bytes = capacity * sizeof(uint32_t);
    return (struct cut_list){exactly(bytes), exactly(bytes), capacity, 0};
}

static void release(struct cut_list *list)
{
    free(list->offsets);
    free(list->lengths);
}

static const struct cut_meeting NOWHERE = {0, NULL, 0};

static struct cut_list cut_whole(const struct cut_rule *rule, const uint8_t *data, size_t length, size_t capacity)
{
    struct cut_list list = room(capacity);
    const struct cut_window window = {data, 0, length, true};
    size_t position = 0;
    const enum cut_state state = cut_scan(rule, &window, &NOWHERE, &position, &list);
    REQUIRE(state == CUT_ENDED ? position == length : list.count == list.capacity);
    return list;
}

static struct cut_list cut_in_windows(const struct cut_rule *rule, const uint8_t *data, size_t length, size_t capacity)
{
    struct cut_list list = room(capacity);
    enum cut_state state = CUT_MORE;
    for (size_t position = 0; state == CUT_MORE;) {
        const size_t origin = position - position % CUT_BLOCK_BYTES;
        size_t end = origin + rule->max_bytes + (2 + draw(5)) * CUT_BLOCK_BYTES;
        end = end < length ? end : length;
        uint8_t *copy = exact_copy(data + origin, end - origin, 0);
        const struct cut_window window = {copy, origin, end - origin, end == length};
        state = cut_scan(rule, &window, &NOWHERE, &position, &list);
        free(copy);
    }
    return list;
}

static void require_equal(const struct cut_list *a, const struct cut_list *b)
{
    REQUIRE(a->count == b->count);
    REQUIRE(memcmp(a->offsets, b->offsets, a->count * sizeof(uint32_t)) == 0);
    REQUIRE(memcmp(a->lengths, b->lengths, a->count * sizeof(uint32_t)) == 0);
}

static void cut_one_segment(const uint8_t secrets[CUT_SECRETS_BYTES], size_t length, size_t average)
{
    uint8_t *data = exactly(length + 1);
    fill(data, length);
    uint8_t *exact = exact_copy(data, length, 0);

    struct cut_rule rule;
    cut_rule_init(&rule, secrets, average, sector_kernels[sector_kernel_count - 1].values);
    const size_t extents = length / (2 * CUT_BLOCK_BYTES) + 1;
    struct cut_list scalar = cut_whole(&rule, exact, length, length / rule.min_bytes + extents);

    for (size_t i = 0; i < sector_kernel_count; i++) {
        if (!sector_kernels[i].runs_here()) {
            continue;
        }
        cut_rule_init(&rule, secrets, average, sector_kernels[i].values);
        const size_t shift = draw(64);
        uint8_t *shifted = exact_copy(data, length, shift);
        struct cut_list whole = cut_whole(&rule, shifted + shift, length, scalar.count);
        struct cut_list windows = cut_in_windows(&rule, data, length, scalar.count + 1);
        require_equal(&whole, &scalar);
        require_equal(&windows, &scalar);
        release(&whole);
        release(&windows);
        free(shifted);
    }
    release(&scalar);
    free(exact);
    free(data);
}

static void fingerprint_one_batch(const struct hmac_key *key, size_t length, size_t count)
{
    uint8_t *data = exactly(length);
    uint32_t *offsets = exactly(count * sizeof *offsets);
    uint32_t *lengths = exactly(count * sizeof *lengths);
    uint8_t *digests = exactly(count * SHA256_DIGEST_BYTES);
    fill(data, length);
    for (size_t i = 0; i < count; i++) {
        offsets[i] = (uint32_t)draw(length + 1);
        lengths[i] = (uint32_t)(draw(3) == 0 ? length - offsets[i] : draw(length - offsets[i] + 1));
    }
    hmac_sha256_batch(key, data, offsets, lengths, count, digests);

    for (size_t i = 0; i < count; i++) {
        const uint32_t nought = 0;
        uint8_t *alone = exact_copy(data + offsets[i], lengths[i], 0);
        uint8_t digest[SHA256_DIGEST_BYTES];
        hmac_sha256_batch(key, lengths[i] ? alone : data, &nought, &lengths[i], 1, digest);
        REQUIRE(memcmp(digest, digests + i * SHA256_DIGEST_BYTES, SHA256_DIGEST_BYTES) == 0);
        free(alone);
    }
    free(digests);
    free(lengths);
    free(offsets);
    free(data);
}

int main(void)
{
    uint8_t secrets[CUT_SECRETS_BYTES];
    for (size_t i = 0; i < sizeof secrets; i++) {
        secrets[i] = (uint8_t)draw(256);
    }
    for (int i = 0; i < 150; i++) {
        cut_one_segment(secrets, draw(3) == 0 ? draw(10000) : draw(200000), (size_t)CUT_BLOCK_BYTES << draw(4));
    }
    if (sha256_lanes_run_here()) {
        struct hmac_key key;
        hmac_key_init(&key, secrets);
        for (int i = 0; i < 300; i++) {
            fingerprint_one_batch(&key, 1 + draw(draw(2) == 0 ? 200 : 5000), draw(12));
        }
    }
    return 0;
}
