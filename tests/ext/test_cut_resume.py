"""The law of resuming, at the kernel: cutting on from a change gives the list of a full re-cut, however it is fed."""

import hashlib
import random
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext import cut

SECRETS = hashlib.shake_256(b"ingot test secrets").digest(cut.SECRETS_BYTES)
SECTOR, BLOCK = 512, 4096
NONE = np.empty(0, np.uint32)


def room(count):
    return np.empty(count, np.uint32), np.empty(count, np.uint32)


def segment(cutter, data):
    offsets, lengths = room(cutter.capacity(len(data)))
    count = cutter.segment(data, offsets, lengths)
    return list(zip(offsets[:count].tolist(), lengths[:count].tolist(), strict=True))


def feed(cutter, data, start, last, boundaries, pieces, capacity):
    """Resumes at `start` through windows that grow by `pieces` (in blocks) while the kernel asks for more."""
    offsets, lengths = room(capacity)
    chunks, end, state = [], min(start - start % BLOCK + BLOCK, len(data)), cut.MORE
    while state == cut.MORE:
        origin = start - start % BLOCK
        count, position, state = cutter.resume(
            data[origin:end], origin, start, end == len(data), last, boundaries, offsets, lengths
        )
        assert start <= position <= end
        chunks += zip(offsets[:count].tolist(), lengths[:count].tolist(), strict=True)
        if state == cut.MORE and count < capacity:
            assert end < len(data), "the whole segment is decidable"
            assert position + cutter.max_bytes >= end, "what it has decides nothing"
            end = min(end + next(pieces) * BLOCK, len(data))
        start = position
    return chunks, start, state


def resumed(cutter, old, data, first, last, pieces, capacity):
    """The chunks of `data`, from the list `old` of its parent and one changed extent [first, last)."""
    first -= first % BLOCK
    last = min(len(data), -(-last // BLOCK) * BLOCK)
    restart = min((start for start, _ in old if start <= first <= start + cutter.max_bytes), default=first)
    boundaries = np.array(sorted({x for start, length in old for x in (start, start + length)}), np.uint32)
    fresh, position, state = feed(cutter, data, restart, last, boundaries, pieces, capacity)
    kept = [chunk for chunk in old if state == cut.MET and chunk[0] >= position]
    return [chunk for chunk in old if sum(chunk) <= restart] + fresh + kept


def disk(rng, length):
    """Random sectors, long runs of one sector, zero sectors and holes."""
    data = bytearray()
    while len(data) < length:
        count = rng.choice([1, 3, 8, 13, 24, 40])
        content = rng.choice(["random", "random", "repeated", "zero", "holes"])
        if content == "random":
            data += rng.randbytes(count * SECTOR)
        elif content == "repeated":
            data += rng.randbytes(SECTOR) * count
        elif content == "zero":
            data += bytes(count * SECTOR)
        else:
            data += bytes(-len(data) % BLOCK + BLOCK * rng.randint(1, 6))
    return bytes(data[:length])


def change(rng, data):
    """`data` after one change, and the extent of it."""
    first = rng.randrange(len(data))
    last = min(len(data), first + rng.choice([1, 512, 5_000, 4096, 20_000]))
    if rng.random() < 0.5:  # whole blocks, which makes and fills holes
        first, last = first - first % BLOCK, min(len(data), -(-last // BLOCK) * BLOCK)
    size = last - first
    content = rng.choice([bytes(size), rng.randbytes(size), (rng.randbytes(SECTOR) * (size // SECTOR + 1))[:size]])
    return data[:first] + content + data[last:], first, last


seeds = st.integers(0, 2**32 - 1)
pieces = st.lists(st.integers(1, 24), min_size=1, max_size=6)
averages = st.sampled_from([4096, 8192, 16384])
capacities = st.sampled_from([1, 2, 7, 1000])


def endless(sizes):
    return chain.from_iterable(iter(lambda: sizes, None))


@pytest.mark.parametrize("kernel", cut.kernels())
@settings(derandomize=True, deadline=None, max_examples=150)
@given(seed=seeds, average=averages, sizes=pieces, capacity=capacities)
def test_a_segment_fed_in_pieces_is_cut_as_in_one(kernel, seed, average, sizes, capacity):
    rng = random.Random(seed)
    data = disk(rng, rng.randint(1, 300_000))
    cutter = cut.Cutter(SECRETS, average, kernel)
    chunks, position, state = feed(cutter, data, 0, len(data), NONE, endless(sizes), capacity)
    assert (chunks, position, state) == (segment(cutter, data), len(data), cut.ENDED)


@pytest.mark.parametrize("kernel", cut.kernels())
@settings(derandomize=True, deadline=None, max_examples=400)
@given(seed=seeds, average=averages, sizes=pieces, capacity=capacities)
def test_resuming_after_a_change_gives_the_list_of_a_full_cut(kernel, seed, average, sizes, capacity):
    rng = random.Random(seed)
    old = disk(rng, rng.randint(1, 300_000))
    new, first, last = change(rng, old)
    cutter = cut.Cutter(SECRETS, average, kernel)
    assert resumed(cutter, segment(cutter, old), new, first, last, endless(sizes), capacity) == segment(cutter, new)


def test_resuming_meets_the_old_list_soon_after_a_small_change():
    rng = random.Random(2)
    old = rng.randbytes(1 << 20)
    new = old[:400_000] + b"changed" + old[400_007:]
    cutter = cut.Cutter(SECRETS, 16384)
    boundaries = np.array([start for start, _ in segment(cutter, old)], np.uint32)
    restart = int(boundaries[boundaries <= 400_000].max())
    _, position, state = cutter.resume(new, 0, restart, True, 400_007, boundaries, *room(1000))
    assert state == cut.MET
    assert 400_007 <= position <= 400_007 + 4 * cutter.max_bytes
    assert position in boundaries


def test_a_start_that_is_a_boundary_past_the_change_meets_at_once():
    data = random.Random(3).randbytes(65536)
    assert cut.Cutter(SECRETS, 4096).resume(data, 0, 8192, True, 8192, np.array([8192], np.uint32), *room(9)) == (
        0,
        8192,
        cut.MET,
    )


def test_a_boundary_before_the_end_of_the_change_is_passed():
    data = random.Random(3).randbytes(65536)
    cutter = cut.Cutter(SECRETS, 4096)
    count, position, state = cutter.resume(data, 0, 8192, True, 8193, np.array([8192], np.uint32), *room(99))
    assert (position, state) == (65536, cut.ENDED)
    assert count > 0


def test_a_chunk_is_decided_once_the_block_at_its_longest_end_is_there():
    # Equal sectors that do not cut at 4 KiB: only the byte at start + MAX tells whether the extent goes on.
    cutter = cut.Cutter(SECRETS, 4096)
    dull = next(
        sector
        for sector in (hashlib.shake_256(b"sector %d" % i).digest(SECTOR) for i in range(99))
        if segment(cutter, sector * 16) == [(0, 8192)]
    )
    data = dull * 64
    undecided = cutter.resume(data[:8192], 0, 0, False, 0, NONE, *room(99))
    assert undecided == (0, 0, cut.MORE)
    offsets, lengths = room(99)
    # One block more decides the chunk at 0, which its tie cuts at MIN, and the one at 2048, but none at 4096.
    assert cutter.resume(data[:12288], 0, 0, False, 0, NONE, offsets, lengths) == (2, 4096, cut.MORE)
    assert (offsets[:2].tolist(), lengths[:2].tolist()) == ([0, 2048], [2048, 2048])


def test_a_sector_that_cuts_decides_before_more_is_read():
    cutter = cut.Cutter(SECRETS, 65536)
    data = np.frombuffer(hashlib.shake_256(b"a sector that cuts").digest(8 << 20), np.uint8)
    chunks = segment(cutter, data)
    start, length = next(c for c in chunks if c[1] < cutter.max_bytes - BLOCK and c[0] % BLOCK == 0 and c[1] % BLOCK)
    window = data[start : start + -(-length // BLOCK) * BLOCK]
    assert len(window) < cutter.max_bytes
    offsets, lengths = room(1)
    count, position, state = cutter.resume(window, start, start, False, len(data), NONE, offsets, lengths)
    assert (count, position, state) == (1, start + length, cut.MORE)
    assert (offsets[0], lengths[0]) == (start, length)


def test_a_hole_in_the_window_decides_the_chunk_before_it():
    cutter = cut.Cutter(SECRETS, 65536)
    offsets, lengths = room(9)
    data = b"x" * BLOCK + bytes(BLOCK)
    assert cutter.resume(data, 8192, 8192, False, 0, NONE, offsets, lengths) == (1, 16384, cut.MORE)
    assert (offsets[0], lengths[0]) == (8192, BLOCK)


@pytest.mark.parametrize(("final", "state"), [(True, cut.ENDED), (False, cut.MORE)])
@pytest.mark.parametrize("length", [0, BLOCK, 5 * BLOCK])
def test_only_holes_lead_to_the_end_of_the_window(final, state, length):
    cutter = cut.Cutter(SECRETS, 65536)
    assert cutter.resume(bytes(length), BLOCK, BLOCK, final, 0, NONE, *room(9)) == (0, BLOCK + length, state)


def test_full_arrays_stop_before_the_chunk_that_has_no_room():
    data = random.Random(4).randbytes(65536)
    cutter = cut.Cutter(SECRETS, 4096)
    third = segment(cutter, data)[2][0]
    assert cutter.resume(data, 0, 0, True, 0, NONE, *room(2)) == (2, third, cut.MORE)
    assert cutter.resume(data, 0, 0, True, 0, NONE, NONE, NONE) == (0, 0, cut.MORE)


@pytest.mark.parametrize(
    ("origin", "start", "length", "final", "message"),
    [
        (512, 512, 4096, True, "does not lie on blocks"),
        (0, 0, 4097, False, "does not lie on blocks"),
        (4096, 0, 4096, True, "outside the window"),
        (4096, 8193, 4096, True, "outside the window"),
        (0, 100, 4096, True, "not a multiple of a sector"),
        (1 << 31, 1 << 31, 4096, True, "reaches past"),
        (1 << 63, 1 << 63, 4096, True, "reaches past"),
    ],
)
def test_windows_that_break_the_rules_are_refused(origin, start, length, final, message):
    with pytest.raises(ValueError, match=message):
        cut.Cutter(SECRETS, 4096).resume(bytes(length), origin, start, final, 0, NONE, *room(9))


def test_a_negative_position_is_refused():
    with pytest.raises(OverflowError):
        cut.Cutter(SECRETS, 4096).resume(bytes(4096), 0, -1, True, 0, NONE, *room(9))
