/*
 * sector_value: the number that decides whether s512/1 may cut behind a sector.
 *
 *     NH(sector), words w[0..127], keys K[0..255], all u32 little-endian:
 *         A = sum over i in 0..63 of (w[i] + K[i])       * (w[i + 64] + K[i + 64])
 *         B = sum over i in 0..63 of (w[i] + K[i + 128]) * (w[i + 64] + K[i + 192])
 *         additions mod 2^32, products of 64 bits, sums mod 2^64
 *     value(sector) = SipHash-2-4(sip key, A then B, eight little-endian bytes each)
 *
 * NH is the universal hash of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, CRYPTO 1999). Two independent keys bound
 * the collision of two different sectors by 2^-64. SipHash (Aumasson, Bernstein, INDOCRYPT 2012) is the PRF over it:
 * NH is linear in its keys, so without the PRF the chunk sizes that an outsider sees would give the keys away.
 *
 * Every kernel computes the same values; the scalar one is the definition.
 */
#ifndef INGOT_SECTOR_VALUE_H
#define INGOT_SECTOR_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR_BYTES 512

/* Sectors a kernel values in one call: as many as the widest vector has 64-bit lanes for SipHash. A scan stops on
 * average in the middle of a batch: at a mean of 64 KiB (64 valued sectors a chunk) 8 lanes waste 5 %, 16 would
 * 12 %. */
#define SECTOR_BATCH 8

struct sector_keys {
    uint32_t nh[256];
    uint64_t sip[2];
};

/* Values of `count` <= SECTOR_BATCH consecutive whole sectors; values[count..] are left undefined. */
typedef void sector_values(const struct sector_keys *keys, const uint8_t *sectors, size_t count,
                           uint64_t values[SECTOR_BATCH]);

struct sector_kernel {
    const char *name;
    bool (*runs_here)(void);
    sector_values *values;
};

/* Fastest first; the last is scalar and runs everywhere. */
extern const struct sector_kernel sector_kernels[];
extern const size_t sector_kernel_count;

#endif
