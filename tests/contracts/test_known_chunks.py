"""What every `KnownChunks` keeps, whatever it is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media.ids import cid_of
from media.known_chunks import Fingerprints, KnownChunks, MemoryKnownChunks
from mediaagent.ddb.chunk_index import open_index
from mediaagent.ddb.opening import Limits

UUID = bytes(range(16))
A, B, C = (cid_of(1, seq) for seq in range(3))
EVERY = np.random.default_rng(20).integers(0, 256, (60, 32), dtype=np.uint8)

Make = Callable[[], KnownChunks]


@pytest.fixture(params=["memory", "index", "index in tiny batches"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as opened:
        count = iter(range(10**6))

        def made() -> KnownChunks:
            if request.param == "memory":
                return MemoryKnownChunks()
            tiny = Limits(batch_keys=3, batch_seconds=0.0, pending_keys=6)
            limits = tiny if request.param == "index in tiny batches" else Limits()
            return opened.enter_context(open_index(tmp_path / str(next(count)), UUID, limits))

        yield made


@pytest.fixture
def known(make: Make) -> KnownChunks:
    return make()


def located(known: KnownChunks, fingerprints: Fingerprints) -> list[tuple[int, int]]:
    places = known.locate(fingerprints)
    assert places.cids.dtype == np.uint64
    assert places.slots.dtype == np.uint32
    assert len(places.cids) == len(places.slots) == len(fingerprints)
    return list(zip(places.cids.tolist(), places.slots.tolist(), strict=True))


def test_what_was_recorded_is_found_in_its_slot(known: KnownChunks) -> None:
    known.record(A, EVERY[:20])
    known.record(B, EVERY[20:50])
    assert located(known, EVERY[:50]) == [(A, slot) for slot in range(20)] + [(B, slot) for slot in range(30)]


def test_what_was_not_recorded_is_a_miss(known: KnownChunks) -> None:
    known.record(A, EVERY[:20])
    assert located(known, EVERY[20:]) == [(0, 0)] * 40


def test_nothing_is_asked_and_nothing_answered(known: KnownChunks) -> None:
    assert located(known, EVERY[:0]) == []


def test_a_fingerprint_asked_twice_in_a_batch_is_answered_twice(known: KnownChunks) -> None:
    known.record(A, EVERY[:2])
    assert located(known, EVERY[[1, 5, 1, 0, 5]]) == [(A, 1), (0, 0), (A, 1), (A, 0), (0, 0)]


def test_a_fingerprint_recorded_twice_in_a_container_is_found_in_one_of_its_slots(known: KnownChunks) -> None:
    known.record(A, EVERY[[3, 3]])
    assert located(known, EVERY[3:4])[0] in {(A, 0), (A, 1)}


def test_fingerprints_of_another_layout_in_memory_are_the_same_fingerprints(known: KnownChunks) -> None:
    known.record(A, np.asfortranarray(EVERY[:10]))
    assert located(known, EVERY[:10][::-1]) == [(A, slot) for slot in reversed(range(10))]


def test_the_largest_numbers_come_back_as_they_went_in(known: KnownChunks) -> None:
    last = cid_of((1 << 40) - 1, (1 << 24) - 1)
    known.record(last, EVERY[:1])
    assert located(known, EVERY[:1]) == [(last, 0)]


def test_a_forgotten_container_is_not_answered_and_the_others_are(known: KnownChunks) -> None:
    known.record(A, EVERY[:5])
    known.record(B, EVERY[5:10])
    known.forget([A, C])
    assert located(known, EVERY[:10]) == [(0, 0)] * 5 + [(B, slot) for slot in range(5)]
    assert known.containers() == {B}


def test_a_chunk_stored_again_after_its_container_was_forgotten_is_found_at_the_new_place(known: KnownChunks) -> None:
    known.record(A, EVERY[:5])
    known.forget({A})
    known.record(B, EVERY[2:4])
    assert located(known, EVERY[:5]) == [(0, 0), (0, 0), (B, 0), (B, 1), (0, 0)]


def test_the_containers_recorded_are_known(known: KnownChunks) -> None:
    assert known.containers() == set()
    known.record(A, EVERY[:5])
    known.record(C, EVERY[:0])
    assert known.containers() == {A, C}


def test_threads_record_and_locate_at_once(known: KnownChunks) -> None:
    errors: list[BaseException] = []

    def write_and_read(part: int) -> None:
        mine = EVERY[part * 15 : part * 15 + 15]
        try:
            for slot in range(15):
                cid = cid_of(part + 1, slot)
                known.record(cid, mine[slot : slot + 1])
                assert located(known, mine[: slot + 1])[-1] == (cid, 0)
        except BaseException as error:  # noqa: BLE001 # a thread's failure, shown by the test
            errors.append(error)

    threads = [threading.Thread(target=write_and_read, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(cid for cid, _ in located(known, EVERY))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.lists(st.integers(0, 59), max_size=8)),
        st.tuples(st.just("forget"), st.lists(st.integers(0, 12), max_size=3)),
        st.tuples(st.just("flush"), st.just([])),
        st.tuples(st.just("locate"), st.lists(st.integers(0, 59), max_size=20)),
    ),
    max_size=14,
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_an_answer_is_a_place_that_was_recorded_and_not_forgotten(make: Make, steps: list[tuple[str, Any]]) -> None:
    known = make()
    places: dict[int, set[tuple[int, int]]] = {i: set() for i in range(60)}
    recorded: list[int] = []
    gone: set[int] = set()

    def check(asked: list[int]) -> None:
        for i, place in zip(asked, located(known, EVERY[asked]), strict=True):
            alive = {(cid, slot) for cid, slot in places[i] if cid not in gone}
            missable = not alive or alive != places[i]
            assert place in alive or (missable and place == (0, 0))

    for step, numbers in steps:
        if step == "record":
            cid = cid_of(1, len(recorded))
            known.record(cid, EVERY[numbers])
            recorded.append(cid)
            for slot, i in enumerate(numbers):
                places[i].add((cid, slot))
        elif step == "forget":
            cids = {recorded[n] for n in numbers if n < len(recorded)}
            known.forget(cids)
            gone |= cids
        elif step == "flush" and hasattr(known, "flush"):
            known.flush()
        elif step == "locate":
            check(numbers)
    check(list(range(60)))
    assert known.containers() == set(recorded) - gone
    if hasattr(known, "close"):
        known.close()
