/*
 * sha256_lanes: HMAC-SHA-256 of many messages at once, on one core (FIPS 180-4, RFC 2104).
 *
 * The processor's SHA instructions are bound by latency: two rounds of one message wait for the two before. So up to
 * SHA256_LANES messages go through the rounds side by side, and a lane whose message ends takes the next one at once.
 *
 * Requires sha256_lanes_run_here(); calling the others where it is false aborts. No state is kept and nothing is
 * allocated: any number of threads may share a key.
 */
#ifndef INGOT_SHA256_LANES_H
#define INGOT_SHA256_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Three leave the SHA unit hardly idle, and a fourth would spill more registers than it gains. Measured on Zen 4 with
 * gcc 12 in GB/s, 64 KiB messages in cache: one lane 1.83, two 3.65, three 4.07, four 3.98. */
#define SHA256_LANES 3
#define SHA256_BLOCK_BYTES 64
#define SHA256_DIGEST_BYTES 32

/* The hash's state as the instructions hold it: two vectors of four words, F E B A and H G D C from the low end. */
struct sha256_state {
    uint32_t words[8];
};

/* The states after the first block of the inner and of the outer hash, which depend on the key alone. */
struct hmac_key {
    struct sha256_state inner, outer;
};

bool sha256_lanes_run_here(void);

/* `key` is already one block: hashed if it was longer, then padded with zeros. */
void hmac_key_init(struct hmac_key *prepared, const uint8_t key[SHA256_BLOCK_BYTES]);

/* digests[32 * i ..] = HMAC of data[offsets[i] .. offsets[i] + lengths[i]) for i in 0..count-1. */
void hmac_sha256_batch(const struct hmac_key *key, const uint8_t *data, const uint32_t *offsets,
                       const uint32_t *lengths, size_t count, uint8_t *digests);

#endif
