"""Random disks and random changes of them, such as make a chunker err: holes, repeats, zero sectors, odd ends."""

from __future__ import annotations

import random

from media.extents import Extent, normal

SECTOR = 512


def random_image(rng: random.Random, size: int) -> bytearray:
    """Random sectors of a small vocabulary, runs of one sector, zero sectors, holes."""
    out = bytearray()
    vocabulary = [rng.randbytes(SECTOR) for _ in range(rng.choice((2, 40, 4000)))]
    while len(out) < size:
        kind = rng.random()
        run = rng.randint(1, 24)
        if kind < 0.15:
            out += bytes(run * rng.choice((SECTOR, 4096)))
        elif kind < 0.3:
            out += rng.choice(vocabulary) * run
        else:
            for _ in range(run):
                out += rng.choice(vocabulary)
    return out[:size]


def change(rng: random.Random, data: bytearray, count: int) -> list[Extent]:
    """Change `data` in place in up to `count` places; what changed, as change tracking says it: in any order."""
    extents = []
    for _ in range(count):
        if not data:
            break
        length = min(len(data), rng.choice((1, 511, 512, 4096, 5000, 20000)))
        offset = rng.choice((0, len(data) - length, rng.randrange(len(data) - length + 1)))
        kind = rng.random()
        if kind < 0.3:
            data[offset : offset + length] = bytes(length)
        elif kind < 0.4:
            pass  # reported, and yet the same
        else:
            data[offset : offset + length] = rng.randbytes(length)
        extents.append(Extent(offset, length))
    rng.shuffle(extents)
    return extents


def resize(rng: random.Random, data: bytearray, unit: int) -> None:
    """Grow with zeros or data, or shrink, by amounts around blocks and around `unit`."""
    by = rng.choice((1, 511, 512, 4095, 4096, 4097, unit - 1, unit, unit + 1, 2 * unit + 4096))
    if rng.random() < 0.5:
        data += rng.randbytes(by) if rng.random() < 0.5 else bytes(by)
    else:
        del data[max(1, len(data) - by) :]


def to_end_of(extents: list[Extent], size: int) -> list[Extent]:
    """What of `extents` is on a disk of `size` bytes."""
    return normal(Extent(e.offset, min(e.length, size - e.offset)) for e in extents)
