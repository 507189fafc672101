"""F2: every single flipped bit in a container is noticed by verification, and never read as something else."""

from __future__ import annotations

import pytest

from media.container_reader import ContainerReader
from media.ids import cid_of_name
from media.pool import Parameters
from media.reader import DiskRestore
from media.recovery_point import Points, RecoveryPoint, list_points
from media.verify import Verification
from tests.media.fakes import MemoryTarget, SparseDisk
from tests.media.workbench import OPEN, SMALL, Workbench, noise, text

BOTH = pytest.mark.parametrize("parameters", [SMALL, OPEN], ids=["sealed", "unsealed"])
NO_POINTS = Points([], {})
DATA = noise(1, 300) + bytes(8192 - 300) + text(2, 400) + bytes(8192 - 400) + noise(3, 5)


def written(parameters: Parameters) -> tuple[Workbench, RecoveryPoint, str, str]:
    """A data container of three records, one of them compressed, and a container of pages."""
    bench = Workbench(parameters)
    point = bench.backup(SparseDisk.of(DATA))
    data, pages = sorted(bench.containers_of(point.sid), key=lambda name: -len(bench.memory.get(name)))
    return bench, point, data, pages


def flipped(body: bytes, at: int, mask: int) -> bytes:
    changed = bytearray(body)
    changed[at] ^= mask
    return bytes(changed)


def assert_noticed(bench: Workbench, point: RecoveryPoint, name: str) -> None:
    pool = bench.pool
    # Keys that were opened before must not help.
    pool.keys._opened.clear()
    target = MemoryTarget(len(DATA), reads_zero=False)
    outcome = DiskRestore(pool, ContainerReader(pool), point.disks[0], target, 1, lambda _: None).run()
    lost = outcome.lost_extents
    expected = bytearray(DATA)
    for extent in lost:
        expected[extent.offset : extent.end] = bytes(extent.length)
    assert target.data == expected, "what is not reported as lost is right, and what is lost reads as zero"
    verdict = Verification(pool, ContainerReader(pool), 1, lambda _: None, lambda _: None).run(list_points(pool))
    cid = cid_of_name(name)
    assert cid in verdict.damaged
    assert all(str(fault).startswith(f"c-{cid >> 24:x}.{cid & 0xFFFFFF:x}") for fault in verdict.damaged[cid].faults)
    found = [lost.extent for disks in verdict.lost.values() for each in disks.values() for lost in each]
    assert all(any(f.offset <= e.offset and e.end <= f.end for f in found) for e in lost), "verification foresaw it"


@BOTH
@pytest.mark.parametrize("which", ["data", "pages"])
def test_one_flipped_bit_of_any_byte_is_noticed(parameters: Parameters, which: str) -> None:
    bench, point, data, pages = written(parameters)
    name = data if which == "data" else pages
    body = bench.memory.get(name)
    for at in range(len(body)):
        bench.overwrite(name, flipped(body, at, 1 << at * 5 % 8))
        assert_noticed(bench, point, name)


@BOTH
def test_any_of_all_the_bits_of_a_small_container_is_noticed(parameters: Parameters) -> None:
    bench = Workbench(parameters)
    bench.backup(SparseDisk.of(b"tiny"))
    name = "c/0000000001/000000"
    body = bench.memory.get(name)
    cid = cid_of_name(name)
    assert len(body) < 400
    for at in range(len(body)):
        for bit in range(8):
            bench.overwrite(name, flipped(body, at, 1 << bit))
            verification = Verification(bench.pool, ContainerReader(bench.pool), 1, lambda _: None, lambda _: None)
            assert cid in verification.run(NO_POINTS).damaged


@BOTH
def test_what_is_whole_is_found_good(parameters: Parameters) -> None:
    bench, _, _, _ = written(parameters)
    verdict = Verification(bench.pool, bench.containers, 2, lambda _: None, lambda _: None).run(list_points(bench.pool))
    assert verdict.good
    assert (verdict.containers, verdict.records) == (2, 3 + 2)
