"""Ingest stores what is new, once; holes and what is known cost nothing."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from media.container_reader import ContainerReader
from media.extents import Extent
from media.ids import cid_of_name
from media.packing import Uploads
from media.record import Codec
from tests.media.fakes import SparseDisk
from tests.media.workbench import SEGMENT, SMALL, Workbench, noise, text


def kinds(bench: Workbench, sid: int) -> list[int]:
    """1 for each data container, 2 for each of pages."""
    return sorted(bench.memory.get(name)[10] for name in bench.containers_of(sid))


def codecs(bench: Workbench, sid: int) -> set[int]:
    cids = [cid for name in bench.containers_of(sid) if (cid := cid_of_name(name)) is not None]
    footers = [ContainerReader(bench.pool).footer(cid) for cid in cids]
    return {int(codec) for footer in footers for codec in footer["codec"][footer["type"] == 1]}


def test_holes_cost_nothing() -> None:
    bench = Workbench()
    disk = SparseDisk(SEGMENT * 1000)
    point = bench.backup(disk)
    assert disk.reads == []
    assert bench.containers_of(point.sid) == []
    assert point.statistics["hole_bytes"] == disk.size
    written_zeros = SparseDisk(SEGMENT * 3, {0: bytes(SEGMENT * 3)})  # data, as the disk says, and yet zero
    point = bench.backup(written_zeros)
    assert bench.containers_of(point.sid) == []
    assert point.disks[0].root.ref is None


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_image_again_stores_no_container_at_all(workers: int) -> None:
    bench, disk = Workbench(), SparseDisk.of(noise(1, SEGMENT * 4) + bytes(SEGMENT) + text(2, SEGMENT * 3))
    first = bench.backup(disk, workers=workers)
    second = bench.backup(disk, parent=first, workers=workers)
    assert bench.containers_of(second.sid) == []
    assert second.disks == first.disks
    assert (second.statistics["new_bytes"], second.statistics["stored_bytes"]) == (0, 0)


def test_the_same_image_without_its_parent_stores_pages_only() -> None:
    bench, disk = Workbench(), SparseDisk.of(noise(1, SEGMENT * 4))
    first = bench.backup(disk)
    second = bench.backup(disk)
    assert kinds(bench, second.sid) == [2]
    assert bench.chunks(first.disks[0]) == bench.chunks(second.disks[0])


def test_a_chunk_new_twice_in_one_batch_is_stored_once() -> None:
    bench = Workbench()
    piece = noise(5, 4096)
    disk = SparseDisk(SEGMENT, dict.fromkeys(range(0, SEGMENT, 8192), piece))
    point = bench.backup(disk)
    assert point.statistics["chunks"] == 8 * point.statistics["new_chunks"]
    assert point.statistics["new_bytes"] == 4096
    assert {int(slot) for _, leaf in bench.leaves(point.disks[0]) for slot in leaf.places.slots} == set(
        range(point.statistics["new_chunks"])
    )
    bench.assert_restores(point.disks[0], disk.bytes(0, SEGMENT))


def test_a_chunk_new_in_two_segments_and_two_disks_is_stored_once() -> None:
    bench = Workbench()
    piece = noise(5, SEGMENT)
    point = bench.backup(SparseDisk.of(piece * 3), SparseDisk.of(bytes(SEGMENT) + piece))
    assert point.statistics["new_bytes"] == SEGMENT
    bench.assert_restores(point.disks[0], piece * 3)
    bench.assert_restores(point.disks[1], bytes(SEGMENT) + piece)


def test_what_does_not_shrink_is_stored_raw_and_what_does_is_compressed() -> None:
    for data, expected in ((noise(1, SEGMENT), {Codec.RAW}), (text(1, SEGMENT), {Codec.ZSTD})):
        bench = Workbench()
        point = bench.backup(SparseDisk.of(data))
        assert codecs(bench, point.sid) == {int(codec) for codec in expected}
        bench.assert_restores(point.disks[0], data)


def test_text_behind_noise_is_compressed_again() -> None:
    bench = Workbench(replace(SMALL, average_chunk_bytes=16384, container_bytes=128 << 10))
    data = noise(1, SEGMENT) + text(1, SEGMENT) + noise(2, SEGMENT) + text(2, SEGMENT)
    point = bench.backup(SparseDisk.of(data))
    assert codecs(bench, point.sid) == {0, 1}
    assert point.statistics["stored_bytes"] < 3.2 * SEGMENT
    bench.assert_restores(point.disks[0], data)


def test_the_counts_of_a_point_add_up() -> None:
    bench = Workbench()
    data = noise(1, SEGMENT) + bytes(SEGMENT) + noise(2, 5000)
    point = bench.backup(SparseDisk.of(data))
    counts = point.statistics
    assert counts["disk_bytes"] == len(data)
    assert counts["hole_bytes"] + point.disks[0].data_bytes == len(data)
    assert counts["chunks"] == counts["new_chunks"] == len(bench.chunks(point.disks[0]))
    assert counts["stored_bytes"] == sum(len(bench.memory.get(name)) for name in bench.containers_of(point.sid))
    changed = noise(3, 4096) + data[4096:SEGMENT] + bytes(SEGMENT) + bytes(5000)
    later = bench.backup((SparseDisk.of(changed), [Extent(0, 4096), Extent(2 * SEGMENT, 5000)]), parent=point)
    assert later.disks[0].data_bytes == SEGMENT == later.statistics["disk_bytes"] - later.statistics["hole_bytes"]


def test_progress_is_told_of_every_segment_once() -> None:
    bench, told = Workbench(), []
    from media.backup import Backup, Source
    from tests.media.workbench import MACHINE, begin

    disk = SparseDisk.of(noise(1, SEGMENT * 3 + 7))
    sources = [Source("a", disk)]
    log = begin(bench.pool, bench.known, bench.containers, bench.clock, MACHINE, sources, None)
    Backup(log, sources, bench.clock, 1, 2, told.append).run({})
    assert sorted(told) == [7, SEGMENT, SEGMENT, SEGMENT]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_memory_is_bounded_by_workers_and_uploads(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers for containers of chunks: one a worker, two that are being put."""
    made: list[int] = []
    real = Uploads._buffer

    def counting(self: Uploads) -> memoryview:
        before = self._unmade
        buffer = real(self)
        made.append(before - self._unmade)
        return buffer

    monkeypatch.setattr(Uploads, "_buffer", counting)
    bench = Workbench()
    point = bench.backup(*(SparseDisk.of(noise(n, SEGMENT * 10)) for n in range(3)), workers=workers)
    assert len(made) == kinds(bench, point.sid).count(1) > 20
    assert sum(made) <= workers + 2


def test_a_backup_of_a_large_disk_takes_no_more_memory_than_of_a_small_one() -> None:
    peaks = []
    for segments in (40, 400):
        bench = Workbench()
        disk = SparseDisk(SEGMENT * segments, {n * SEGMENT: noise(1, SEGMENT) for n in range(segments)})
        bench.backup(SparseDisk.of(noise(1, SEGMENT)))
        tracemalloc.start()
        bench.backup(disk)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)


def test_what_is_durable_is_no_longer_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    from media import backup
    from media.locator import Locator

    kept: list[Locator] = []

    class Kept(Locator):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            kept.append(self)

    monkeypatch.setattr(backup, "Locator", Kept)
    bench = Workbench()
    point = bench.backup(SparseDisk.of(noise(1, SEGMENT * 20)), workers=2)
    assert kept[0].fresh == {}
    stored = {fingerprint for _, _, fingerprint in bench.chunks(point.disks[0])}
    fingerprints = np.frombuffer(b"".join(sorted(stored)), np.uint8).reshape(-1, 32)
    assert bench.known.locate(fingerprints).cids.all()
