"""Extents against sets of bytes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from media.extents import Extent, by_segment, gaps, normal, outward, total, within

DISK = 64
steady = settings(derandomize=True, deadline=None, database=None, max_examples=150)
any_extents = st.lists(st.builds(Extent, st.integers(0, DISK), st.integers(0, 20)), max_size=8)
normal_extents = any_extents.map(normal)
alignment = st.sampled_from([1, 2, 3, 4, 8, 16, 512])


def covered(extents: Iterable[Extent]) -> set[int]:
    return {byte for extent in extents for byte in range(extent.offset, extent.offset + extent.length)}


def is_normal(extents: list[Extent]) -> bool:
    apart = all(left.offset + left.length < right.offset for left, right in pairwise(extents))
    return apart and all(extent.length > 0 for extent in extents)


@given(any_extents)
@steady
def test_normal_extents_are_the_same_bytes_and_the_only_way_to_write_them(extents: list[Extent]) -> None:
    result = normal(extents)
    assert covered(result) == covered(extents)
    assert is_normal(result)
    assert normal(reversed(result)) == result
    assert all(type(extent) is Extent for extent in result)
    assert total(result) == len(covered(extents))


@given(any_extents, alignment, st.integers(0, DISK + 30))
@steady
def test_outward_takes_every_block_that_is_touched_and_ends_with_the_disk(
    extents: list[Extent], alignment: int, end: int
) -> None:
    blocks = {byte // alignment for byte in covered(extents)}
    result = outward(extents, alignment, end)
    assert covered(result) == {byte for byte in range(end) if byte // alignment in blocks}
    assert is_normal(result)


@given(normal_extents, st.integers(0, DISK + 30), st.integers(0, DISK + 30))
@steady
def test_within_and_gaps_share_a_window_between_them(extents: list[Extent], offset: int, length: int) -> None:
    window = set(range(offset, offset + length))
    inside, outside = list(within(extents, offset, length)), list(gaps(extents, offset, length))
    assert covered(inside) == covered(extents) & window
    assert covered(outside) == window - covered(extents)
    assert is_normal(inside)
    assert is_normal(outside)


@given(any_extents, st.integers(0, DISK), st.integers(0, DISK))
@steady
def test_within_cuts_what_is_not_normal_one_by_one(extents: list[Extent], offset: int, length: int) -> None:
    window = set(range(offset, offset + length))
    inside = list(within(extents, offset, length))
    assert covered(inside) == covered(extents) & window
    assert total(inside) == sum(len(covered([extent]) & window) for extent in extents)


@given(normal_extents, st.integers(1, DISK))
@steady
def test_every_byte_is_in_its_segment_and_in_no_other(extents: list[Extent], segment_bytes: int) -> None:
    split = by_segment(extents, segment_bytes)
    for segment, parts in split.items():
        first = segment * segment_bytes
        assert covered(parts) == covered(extents) & set(range(first, first + segment_bytes))
        assert parts
        assert is_normal(parts)
    assert list(split) == sorted({byte // segment_bytes for byte in covered(extents)})


def test_offsets_beyond_32_bits_stay_exact() -> None:
    far = 62 << 40
    assert outward([Extent(far + 1, 1)], 1 << 20, 1 << 62) == [Extent(far, 1 << 20)]
    assert by_segment([Extent(far - 1, 2)], 1 << 25) == {
        (far >> 25) - 1: [Extent(far - 1, 1)],
        far >> 25: [Extent(far, 1)],
    }
