"""Seeded bytes of the kinds that disks hold: text that squeezes, packed data that does not, database pages.

Every function is a pure function of its generator and size: the same seed gives the same bytes anywhere.
No zeros: a zero area is a hole, and whoever lays out an image leaves it.
"""

from functools import cache

import numpy as np

WORD_COUNT = 4096
ROW_BYTES = 128
PAGE_BYTES = 8192


@cache
def _words() -> list[bytes]:
    """The vocabulary of all text: 4096 words of 3 to 11 letters, the same for every seed, as in any language."""
    rng = np.random.default_rng(4096)
    lengths = rng.integers(3, 12, WORD_COUNT)
    return [bytes(rng.integers(97, 123, length, dtype=np.uint8)) for length in lengths]


def text(rng: np.random.Generator, size_bytes: int) -> bytes:
    """Lines of words, the frequent ones frequent as in prose; zstd at level 3 makes about a third of it."""
    words = _words()
    out = bytearray()
    while len(out) < size_bytes:
        count = min(1 << 18, (size_bytes - len(out)) // 6 + 16)
        # x**3 of a uniform draw: a few words make up most of the text.
        ranks = (rng.random(count) ** 3 * WORD_COUNT).astype(np.int64)
        picked = [words[rank] for rank in ranks.tolist()]
        picked[::12] = [word + b".\n" for word in picked[::12]]
        out += b" ".join(picked) + b" "
    return bytes(out[:size_bytes])


def packed(rng: np.random.Generator, size_bytes: int) -> bytes:
    """Bytes no compressor helps with: pictures, archives, encrypted files."""
    return rng.bytes(size_bytes)


def pages(rng: np.random.Generator, count: int) -> bytes:
    """Database pages of 8 KiB: rows of 128 bytes (key, number, time, padded name), a random number of rows filled."""
    rows = np.full((count, PAGE_BYTES // ROW_BYTES, ROW_BYTES), 0x20, dtype=np.uint8)
    shape = rows.shape[:2]
    rows[..., :16] = rng.integers(0, 256, (*shape, 16), dtype=np.uint8)
    rows[..., 16:24] = rng.integers(0, 4, (*shape, 8), dtype=np.uint8)
    rows[..., 24:64] = rng.integers(97, 123, (*shape, 40), dtype=np.uint8)
    filled = rng.integers(20, shape[1] + 1, count)
    rows[np.arange(shape[1])[None, :] >= filled[:, None]] = 0
    rows[:, 0, 0] |= 1
    return rows.tobytes()
