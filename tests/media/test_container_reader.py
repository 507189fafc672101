"""Footers: where they are found, what is remembered of them, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from media.container_reader import ContainerReader
from media.faults import RecordMissing
from media.ids import cid_of_name
from media.known_chunks import Places
from media.pool import Parameters
from tests.media.fakes import Recording, SparseDisk
from tests.media.workbench import SEGMENT, Workbench, noise


class LocalCache:
    """A cache of footers that forgets nothing."""

    def __init__(self) -> None:
        self.footers: dict[int, bytes] = {}

    def get(self, cid: int) -> bytes | None:
        return self.footers.get(cid)

    def put(self, cid: int, footer: bytes) -> None:
        self.footers[cid] = footer


def written() -> tuple[Workbench, list[int]]:
    bench = Workbench()
    point = bench.backup(SparseDisk.of(noise(1, SEGMENT * 4)))
    return bench, [cid for name in bench.containers_of(point.sid) if (cid := cid_of_name(name)) is not None]


def test_a_footer_is_read_once_and_then_remembered_also_by_the_next_process() -> None:
    bench, cids = written()
    recording, cache = Recording(bench.memory), LocalCache()
    bench.behind(recording)
    for _ in range(2):
        reader = ContainerReader(bench.pool, cache)
        for _ in range(2):
            for cid in cids:
                assert len(reader.footer(cid))
    assert sum(recording.counts.values()) == len(cids)
    assert sorted(cache.footers) == cids


def test_what_was_scanned_from_a_damaged_container_is_not_kept_for_ever() -> None:
    bench, (cid, *_) = written()
    name, cache = bench.containers_of(1)[0], LocalCache()
    body = bench.memory.get(name)
    whole = len(ContainerReader(bench.pool).footer(cid))
    bench.overwrite(name, body[: len(body) // 2])
    assert 0 < len(ContainerReader(bench.pool, cache).footer(cid)) < whole
    assert cache.footers == {}
    bench.overwrite(name, body)
    assert len(ContainerReader(bench.pool, cache).footer(cid)) == whole


def test_no_more_footers_are_remembered_than_fit() -> None:
    bench, cids = written()
    recording = Recording(bench.memory)
    bench.behind(recording)
    reader = ContainerReader(bench.pool, memory_bytes=1)
    for cid in [*cids, *cids, cids[-1]]:
        reader.footer(cid)
    assert sum(recording.counts.values()) == 2 * len(cids), "only the last one was there still"


def test_a_footer_longer_than_the_first_read_comes_with_a_second() -> None:
    bench = Workbench(Parameters(4096, 8 << 20, 1 << 20, encrypted=False))
    disk = SparseDisk(24 << 20, {0: b"".join(noise(n, 600) + bytes(7592) for n in range(3072))})
    bench.backup(disk)
    recording = Recording(bench.memory)
    bench.behind(recording)
    footer = ContainerReader(bench.pool).footer(1 << 24)
    assert footer.nbytes > 128 << 10
    assert recording.counts == {"tail c/0000000001/000000": 1, "extent c/0000000001/000000": 1}


def test_a_record_is_found_by_its_fingerprint_when_the_slot_is_wrong() -> None:
    bench, (cid, *_) = written()
    reader = ContainerReader(bench.pool)
    footer = reader.footer(cid)
    wanted = footer["fingerprint"][3].tobytes()
    for hint in (3, 0, len(footer) - 1, len(footer), 2**32 - 1):
        assert reader.slot_of(cid, hint, wanted) == 3
        assert len(reader.record(cid, hint, wanted)) == footer["plain_len"][3]
    with pytest.raises(RecordMissing, match="c-1"):
        reader.record(cid, 3, bytes(32))


def test_only_places_that_a_footer_holds_whole_are_confirmed() -> None:
    """W9."""
    bench, (cid, *_) = written()
    reader = ContainerReader(bench.pool)
    fingerprints = np.ascontiguousarray(reader.footer(cid)["fingerprint"][:6])
    fingerprints[1, 31] ^= 1
    cids = np.array([cid, cid, cid, 0, 99 << 24, cid], np.uint64)
    slots = np.array([0, 1, 1, 3, 4, 2**32 - 1], np.uint32)
    confirmed = reader.confirm(Places(cids, slots), fingerprints)
    assert confirmed.cids.tolist() == [cid, 0, 0, 0, 0, 0]
    assert confirmed.slots.tolist() == [0, 0, 0, 0, 0, 0]
