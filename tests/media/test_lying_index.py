"""W8, W9: an index that lies, is stale or forgets never makes a wrong recovery point; space is all it can cost."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest

from media.ids import cid_of_name
from media.known_chunks import Fingerprints, MemoryKnownChunks, Places
from media.rebuild import catch_up
from tests.media.fakes import SparseDisk
from tests.media.workbench import SEGMENT, Workbench, noise

OTHER = noise(50, SEGMENT * 3)
DATA = noise(1, SEGMENT * 2) + OTHER[: SEGMENT * 2]


class LyingIndex:
    """Answers every question, in one of the ways in which an index can be wrong."""

    def __init__(self, kind: str, cids: list[int]) -> None:
        self._kind = kind
        self._cids = cids
        self._rng = random.Random(kind)
        self._honest = MemoryKnownChunks()

    def locate(self, fingerprints: Fingerprints) -> Places:
        n = len(fingerprints)
        honest = self._honest.locate(fingerprints)
        forgotten = np.array([self._rng.random() < 0.5 for _ in range(n)], np.bool_)
        random_cids = [self._rng.choice([*self._cids, 0, 2**64 - 1, 1]) for _ in range(n)]
        lies = {
            "wrong slots": (honest.cids, honest.slots ^ np.uint32(1)),
            "huge slots": (honest.cids, np.full(n, 2**32 - 1)),
            "containers that never were": (np.full(n, (7 << 24) | 3), np.zeros(n)),
            "other containers": (np.where(honest.cids == 0, 0, self._cids[0]), honest.slots),
            "forgets": (np.zeros(n), np.zeros(n)),
            "forgets some": (np.where(forgotten, 0, honest.cids), honest.slots),
            "random places": (np.array(random_cids, np.uint64), [self._rng.randrange(60) for _ in range(n)]),
        }
        cids, slots = lies[self._kind]
        return Places(np.asarray(cids, np.uint64), np.asarray(slots, np.uint32))

    def record(self, cid: int, fingerprints: Fingerprints) -> None:
        self._honest.record(cid, fingerprints)

    def forget(self, cids: Iterable[int]) -> None:
        self._honest.forget(cids)

    def containers(self) -> set[int]:
        return self._honest.containers()


KINDS = [
    "wrong slots",
    "huge slots",
    "containers that never were",
    "other containers",
    "forgets",
    "forgets some",
    "random places",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [1, 3])
def test_an_index_that_lies_costs_space_and_nothing_else(kind: str, workers: int) -> None:
    bench = Workbench()
    bench.backup(SparseDisk.of(OTHER))
    cids = [cid for name in bench.containers_of(1) if (cid := cid_of_name(name)) is not None]
    bench.restart()
    bench.known = LyingIndex(kind, cids)
    catch_up(bench.pool, bench.containers, bench.known, lambda _: None, lambda _: None)
    point = bench.backup(SparseDisk.of(DATA), workers=workers)
    bench.assert_restores(bench.point(point.sid).disks[0], DATA)
    later = DATA[SEGMENT:] + noise(3, 5000) + DATA[:SEGMENT]
    bench.assert_restores(bench.backup(SparseDisk.of(later), parent=point, workers=workers).disks[0], later)


@pytest.mark.parametrize("damage", ["missing", "truncated", "another", "tail lost"])
def test_an_index_that_is_stale_about_a_container_never_leads_to_it(damage: str) -> None:
    bench = Workbench()
    bench.backup(SparseDisk.of(OTHER))
    names = [name for name in bench.containers_of(1) if bench.memory.get(name)[10] == 1]
    body = bench.memory.get(names[0])
    bench.memory.delete(names[0])
    if damage == "truncated":
        bench.memory.put_new(names[0], body[:50])
    if damage == "another":
        bench.memory.put_new(names[0], bench.memory.get(names[1]))
    if damage == "tail lost":
        bench.memory.put_new(names[0], body[:-64])
    known = bench.known
    bench.restart()
    bench.known = known
    point = bench.backup(SparseDisk.of(DATA))
    bench.assert_restores(point.disks[0], DATA)
    named = {int(cid) for _, leaf in bench.leaves(point.disks[0]) for cid in leaf.places.cids}
    assert (cid_of_name(names[0]) in named) == (damage == "tail lost")


def test_pages_are_never_found_through_the_index() -> None:
    """W8: an index that was told of page containers, and answers with them, changes nothing."""
    bench = Workbench()
    bench.backup(SparseDisk.of(OTHER))
    for name in bench.containers_of(1):
        cid = cid_of_name(name)
        assert cid is not None
        bench.known.record(cid, np.ascontiguousarray(bench.containers.footer(cid)["fingerprint"]))
    point = bench.backup(SparseDisk.of(OTHER))
    kinds = [bench.memory.get(name)[10] for name in bench.containers_of(point.sid)]
    assert kinds == [2], "all chunks were found, all pages written anew"
    bench.assert_restores(point.disks[0], OTHER)


def test_what_an_interrupted_session_stored_is_caught_up_with_and_what_is_damaged_is_told() -> None:
    bench = Workbench()
    bench.backup(SparseDisk.of(OTHER))
    names = bench.containers_of(1)
    bench.overwrite(names[0], b"INGOT")
    bench.restart()
    begun, advanced = [], []
    learned = catch_up(bench.pool, bench.containers, bench.known, begun.append, advanced.append)
    assert begun == [len(names)]
    assert list(learned.damaged) == [cid_of_name(names[0])]
    assert learned.containers == len(names) - 1 == sum(advanced)
    assert learned.chunks == sum(
        int((bench.containers.footer(cid)["type"] == 1).sum()) for cid in bench.known.containers()
    )
    again = catch_up(bench.pool, bench.containers, bench.known, begun.append, advanced.append)
    assert (again.containers, begun[-1]) == (0, 1), "only the damaged one is looked at again"


def test_an_index_that_is_bounded_forgets_the_oldest_container_first() -> None:
    known = MemoryKnownChunks(max_chunks=10)
    fingerprints = np.random.default_rng(1).integers(0, 256, (30, 32), dtype=np.uint8)
    for cid in range(1, 7):
        known.record(cid, fingerprints[5 * (cid - 1) : 5 * cid])
    assert known.containers() == {5, 6}
    assert known.locate(fingerprints).cids.tolist() == [0] * 20 + [5] * 5 + [6] * 5
