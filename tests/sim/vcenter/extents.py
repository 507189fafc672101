"""Sets of byte ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]  # first, end


class Extents:
    """Ranges of bytes that do not touch, in order."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        for first, end in ranges:
            self.add(first, end)

    def add(self, first: int, end: int) -> None:
        if first >= end:
            return
        low = bisect_left(self._ends, first)
        high = bisect_right(self._firsts, end)
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high] = [first]
        self._ends[low:high] = [end]

    def update(self, other: Extents) -> None:
        for first, end in other:
            self.add(first, end)

    def within(self, first: int, end: int) -> Iterator[Range]:
        """The parts that lie in a range."""
        for at in range(bisect_right(self._ends, first), len(self._firsts)):
            if self._firsts[at] >= end:
                return
            yield max(first, self._firsts[at]), min(end, self._ends[at])

    def gaps(self, first: int, end: int) -> Iterator[Range]:
        """What of a range is not in the set."""
        for here, there in self.within(first, end):
            if first < here:
                yield first, here
            first = there
        if first < end:
            yield first, end

    def rounded(self, block: int, size: int) -> Extents:
        """Grown to whole blocks, cut at `size`."""
        return Extents((first // block * block, min(size, -(-end // block) * block)) for first, end in self)

    def cut(self, size: int) -> Extents:
        """What lies below `size`."""
        return Extents(self.within(0, size))

    def bytes(self) -> int:
        return sum(self._ends) - sum(self._firsts)

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._firsts, self._ends, strict=True)))

    def __len__(self) -> int:
        return len(self._firsts)
