"""The parent's leaves are there before they are asked for, in bunches, and what is behind is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from media.page import Leaf
from vsa.backup.leaves_ahead import BUNCH, BUNCHES_AHEAD, LeavesAhead


class Source:
    """Remembers what was asked for; every odd segment is all holes."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self._lock = threading.Lock()

    def fetch(self, segments: list[int]) -> dict[int, Leaf | None]:
        with self._lock:
            self.asked.append(segments)
        return {segment: None if segment % 2 else leaf(segment) for segment in segments}


def leaf(segment: int) -> Leaf:
    from media.known_chunks import Places

    one = np.ones(1, np.uint32)
    return Leaf(segment, one, one, np.zeros((1, 32), np.uint8), Places.unknown(1))


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_leaves_in_order_are_asked_for_once_in_bunches(executor: ThreadPoolExecutor) -> None:
    source = Source()
    ahead = LeavesAhead(source.fetch, executor)
    wanted = np.arange(0, 3000, 3)
    ahead.expect(wanted)
    for segment in wanted.tolist():
        found = ahead.get(segment)
        assert (found is None) == bool(segment % 2)
        assert found is None or found.index == segment
    assert sorted(each for bunch in source.asked for each in bunch) == wanted.tolist()
    assert max(len(bunch) for bunch in source.asked) == BUNCH


def test_no_more_than_some_bunches_are_ahead(executor: ThreadPoolExecutor) -> None:
    source = Source()
    ahead = LeavesAhead(source.fetch, executor)
    ahead.expect(np.arange(100 * BUNCH))
    ahead.get(0)
    executor.shutdown(wait=True)
    assert len(source.asked) <= BUNCHES_AHEAD + 1


def test_what_was_not_expected_or_was_dropped_is_asked_for_alone(executor: ThreadPoolExecutor) -> None:
    source = Source()
    ahead = LeavesAhead(source.fetch, executor)
    assert ahead.get(8) is not None
    ahead.expect(np.arange(10 * BUNCH))
    assert ahead.get(9 * BUNCH) is not None
    assert ahead.get(0) is not None, "a worker that is late"
    assert ahead.get(10**6) is not None
    assert [8] in source.asked
    assert [10**6] in source.asked


def test_a_fault_is_raised_to_every_one_that_asks(executor: ThreadPoolExecutor) -> None:
    def fails(_: list[int]) -> dict[int, Leaf | None]:
        raise KeyError("gone")

    ahead = LeavesAhead(fails, executor)
    ahead.expect(np.arange(10))
    for segment in (0, 3, 77):
        with pytest.raises(KeyError, match="gone"):
            ahead.get(segment)
