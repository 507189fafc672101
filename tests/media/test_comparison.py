"""Comparing a disk with a recovery point finds exactly what differs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ext.fingerprint import Fingerprinter
from media.comparison import Comparison
from media.extents import Extent, normal, total
from tests.media.fakes import SparseDisk
from tests.media.workbench import SEGMENT, Workbench, noise

SIZE = SEGMENT * 3 + 1536
DAY_ONE = noise(1, SEGMENT) + bytes(SEGMENT // 2) + noise(2, SEGMENT // 2) + bytes(SEGMENT) + noise(3, 1536)
BENCH = Workbench()
POINT = BENCH.backup(SparseDisk.of(DAY_ONE))
CHUNKS = BENCH.chunks(POINT.disks[0])
LEAVES = dict(BENCH.leaves(POINT.disks[0]))


def compared(disk: SparseDisk) -> tuple[list[Extent], list[Extent], int]:
    comparison = Comparison(disk, Fingerprinter(BENCH.pool.keys.fingerprint), SEGMENT)
    found = [comparison.segment(number, LEAVES.get(number)) for number in range(4)]
    same = normal(extent for each in found for extent in each.same)
    return same, normal(extent for each in found for extent in each.filled), comparison.read_bytes


def writes() -> st.SearchStrategy[list[tuple[int, bytes]]]:
    one = st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=600))
    return st.lists(one, max_size=6)


@given(writes())
def test_the_same_chunks_are_those_whose_bytes_are_the_same(written: list[tuple[int, bytes]]) -> None:
    now = bytearray(DAY_ONE)
    for offset, data in written:
        now[offset : offset + len(data)] = data[: SIZE - offset]

    same, filled, _ = compared(SparseDisk.of(bytes(now)))

    def unchanged(offset: int, length: int) -> bool:
        return now[offset : offset + length] == DAY_ONE[offset : offset + length]

    assert same == normal(Extent(offset, length) for offset, length, _ in CHUNKS if unchanged(offset, length))
    holes = bytearray(b"\x01") * SIZE
    for offset, length, _ in CHUNKS:
        holes[offset : offset + length] = bytes(length)
    in_holes = {at for at in range(SIZE) if holes[at] and now[at]}
    told = {at for extent in filled for at in range(extent.offset, extent.end)}
    assert in_holes <= told
    assert all(holes[at] for at in told)


def test_a_disk_that_did_not_change_is_all_the_same_and_its_holes_cost_no_read() -> None:
    disk = SparseDisk(SIZE, {0: DAY_ONE[:SEGMENT], SEGMENT * 3: DAY_ONE[SEGMENT * 3 :]})

    same, filled, read_bytes = compared(disk)

    assert total(same) == SEGMENT + 1536
    assert filled == []
    assert read_bytes == SEGMENT + 1536


def test_a_hole_that_was_written_to_is_told_in_pieces_not_as_a_whole() -> None:
    now = bytearray(DAY_ONE)
    now[SEGMENT * 2 + 5] = 1

    _, filled, _ = compared(SparseDisk.of(bytes(now)))

    assert filled == [Extent(SEGMENT * 2, SEGMENT)]
