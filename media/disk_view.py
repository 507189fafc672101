"""Random access to one disk of a recovery point: any bytes, in any order, as if it were there.

A `media.disk.Disk`, so whatever reads disks reads points as well. Every byte was checked before it is given out: tag,
length, fingerprint. Leaf pages and opened chunks are kept up to a bound; readers in sequence are read ahead for.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from media.chunk_reader import ChunkReader, ChunkRef
from media.extents import Extent
from media.faults import DamageFault, DiskResized, ExtentLost, RepositoryFault
from media.page import Leaf, PageRef
from media.pool import Pool
from media.read_ahead import ReadAhead, Window
from media.recovery_point import DiskTree
from media.tree import TreeReader

_SEGMENTS_MAX_BYTES = 64 << 20  # two thousand leaves, 64 GiB of a full disk
_SEGMENTS_AT_ONCE = 32  # leaves fetched beside one another by who wants to know what is a hole
_WINDOW_MAX_BYTES = 32 << 20
_LEAF_LOCKS = 64


class _Segment:
    """The chunks of one segment, packed: a disk of terabytes has many of them. Offsets count from the segment."""

    __slots__ = ("_cids", "_fingerprints", "_slots", "ends", "starts")

    def __init__(self, leaf: Leaf | None) -> None:
        """None is a segment of holes."""
        self.starts, self.ends, self._slots, self._cids = array("I"), array("I"), array("I"), array("Q")
        self._fingerprints = b""
        if leaf is not None:
            self.starts.frombytes(leaf.offsets.astype("=u4").tobytes())
            self.ends.frombytes((leaf.offsets + leaf.lengths).astype("=u4").tobytes())
            self._slots.frombytes(leaf.places.slots.astype("=u4").tobytes())
            self._cids.frombytes(leaf.places.cids.astype("=u8").tobytes())
            self._fingerprints = leaf.fingerprints.tobytes()

    @property
    def held_bytes(self) -> int:
        return 500 + 52 * len(self.starts)

    def fingerprint(self, row: int) -> bytes:
        return self._fingerprints[32 * row : 32 * row + 32]

    def ref(self, row: int) -> ChunkRef:
        length = self.ends[row] - self.starts[row]
        return ChunkRef(self.fingerprint(row), length, self._cids[row], self._slots[row])


class DiskView:
    """One disk. Safe to use from several threads."""

    def __init__(self, pool: Pool, chunks: ChunkReader, disk: DiskTree) -> None:
        self.number = disk.disk
        self._size = disk.size
        self._root = disk.root
        self._chunks = chunks
        self._tree = TreeReader(chunks.containers, pool.keys.page)
        self._segment_bytes = pool.parameters.segment_bytes
        self._zeros = memoryview(bytes(self._segment_bytes))  # never touched, so the system gives no memory for it
        self._segments: dict[int, _Segment] = {}  # the oldest first; read without the lock
        self._held_bytes = 0
        self._lock = threading.Lock()
        self._leaf_locks = [threading.Lock() for _ in range(_LEAF_LOCKS)]
        most = max(1, min(_WINDOW_MAX_BYTES, chunks.cache_bytes // 8))  # of what is ahead, two windows are in the cache
        self._read_ahead = ReadAhead(self._load_ahead, chunks.ahead, most)

    @property
    def size(self) -> int:
        return self._size

    def check(self) -> None:
        """A recovery point does not change."""

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`. Raises ExtentLost for what is damaged, and faults of the repository as a place."""
        return b"".join(self.pieces(offset, length))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes at `offset`. Raises as `read`."""
        position = 0
        for piece in self.pieces(offset, len(buffer)):
            buffer[position : position + len(piece)] = piece
            position += len(piece)

    def pieces(self, offset: int, length: int) -> list[memoryview]:
        """The same bytes one piece behind the other, without a copy of them. Raises as `read`."""
        if not 0 <= offset <= offset + length <= self._size:
            raise DiskResized(f"disk {self.number}: expected {length} bytes at {offset}, found a disk of {self._size}")
        found = self.cached(offset, length)
        return self._fetched(offset, length) if found is None else found

    def cached(self, offset: int, length: int) -> list[memoryview] | None:
        """The same, of what is on the disk, if nothing has to be fetched; else None. Never waits."""
        pieces = []
        while length > 0:
            number, start = divmod(offset, self._segment_bytes)
            segment = self._segments.get(number)
            if segment is None:
                return None
            row = bisect_right(segment.starts, start) - 1
            if row >= 0 and start < (end := segment.ends[row]):
                first = segment.starts[row]
                plain = self._chunks.cached(segment.fingerprint(row))
                if plain is None or len(plain) != end - first:
                    return None
                if offset - start + first in self._read_ahead.watched:
                    self._read_ahead.saw(offset - start + first, offset - start + end)
                count = min(length, end - start)
                pieces.append(memoryview(plain)[start - first : start - first + count])
            else:
                count = min(length, self._hole_end(segment, row) - start)
                pieces.append(self._zeros[:count])
            offset += count
            length -= count
        return pieces

    def _hole_end(self, segment: _Segment, row_before: int) -> int:
        after = row_before + 1
        return segment.starts[after] if after < len(segment.starts) else self._segment_bytes

    def _fetched(self, offset: int, length: int) -> list[memoryview]:
        self._read_ahead.saw(offset, offset + length)
        parts = list(self._parts(offset, length))
        refs = [ref for _, ref, _ in parts if ref is not None]
        opened = iter(self._chunks.opened(refs))
        pieces = []
        for extent, ref, skipped in parts:
            if ref is None:
                pieces.append(self._zeros[: extent.length])
                continue
            plain = next(opened)
            if isinstance(plain, DamageFault):
                raise ExtentLost(self.number, extent, plain) from plain
            pieces.append(memoryview(plain)[skipped : skipped + extent.length])
        return pieces

    def _parts(self, offset: int, length: int) -> Iterator[tuple[Extent, ChunkRef | None, int]]:
        """What [offset, offset + length) is made of: chunks, with the bytes of each to skip; and holes."""
        end = offset + length
        while offset < end:
            number, start = divmod(offset, self._segment_bytes)
            last = min(end - offset + start, self._segment_bytes)
            try:
                segment = self._segment(number)
            except DamageFault as fault:
                raise ExtentLost(self.number, Extent(offset, last - start), fault) from fault
            while start < last:
                row = bisect_right(segment.starts, start) - 1
                if row >= 0 and start < segment.ends[row]:
                    count = min(last, segment.ends[row]) - start
                    yield Extent(offset, count), segment.ref(row), start - segment.starts[row]
                else:
                    count = min(last, self._hole_end(segment, row)) - start
                    yield Extent(offset, count), None, 0
                offset += count
                start += count

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What of [offset, offset + length) is not a hole; normal. Read from pages alone, as far as it is iterated.

        What lies under a damaged page counts as data: reading it tells.
        """
        end = min(offset + length, self._size)
        current: Extent | None = None
        for extent in self._data(offset, end):
            if current is not None and current.end == extent.offset:
                current = Extent(current.offset, current.length + extent.length)
                continue
            if current is not None:
                yield current
            current = extent
        if current is not None:
            yield current

    def _data(self, offset: int, end: int) -> Iterator[Extent]:
        """Chunks, and whole segments whose leaf is damaged, clipped to [offset, end)."""
        number, last = offset // self._segment_bytes, -(-end // self._segment_bytes)
        while number < last:
            numbers = self._next_segments(number, last)
            for found, loading in [(each, self._chunks.ahead(self._segment, each)) for each in numbers]:
                base = found * self._segment_bytes
                try:
                    segment = loading.result()
                    bounds = zip(segment.starts, segment.ends, strict=True)
                except DamageFault:
                    bounds = zip((0,), (self._segment_bytes,), strict=True)
                for first, behind in bounds:
                    clipped = max(offset, base + first)
                    if clipped < (until := min(end, base + behind)):
                        yield Extent(clipped, until - clipped)
            number = numbers[-1] + 1 if numbers else last

    def _next_segments(self, number: int, last: int) -> list[int]:
        """The next segments from `number` on that may have a leaf."""
        numbers: list[int] = []
        while number < last and len(numbers) < _SEGMENTS_AT_ONCE:
            try:
                found = self._tree.next_leaf(self._root, number)
            except DamageFault:
                numbers.append(number)
                number += 1
                continue
            if found is None or found >= last:
                break
            numbers.append(found)
            number = found + 1
        return numbers

    def _segment(self, number: int) -> _Segment:
        """The chunks of a segment. Raises any DamageFault."""
        known = self._segments.get(number)
        if known is not None:
            return known
        with self._leaf_locks[number % _LEAF_LOCKS]:  # one fetches it, however many want it
            known = self._segments.get(number)
            if known is not None:
                return known
            ref: PageRef | None = self._tree.leaf_ref(self._root, number)
            segment = _Segment(None if ref is None else self._tree.leaf(ref, number))
        with self._lock:
            self._segments[number] = segment
            self._held_bytes += segment.held_bytes
            while self._held_bytes > _SEGMENTS_MAX_BYTES and len(self._segments) > 1:
                self._held_bytes -= self._segments.pop(next(iter(self._segments))).held_bytes
        return segment

    def _load_ahead(self, offset: int, data_bytes: int) -> Window | None:
        """Begin to load the next data at or after `offset`; stops where a page or the place fails."""
        refs: list[ChunkRef] = []
        first: int | None = None
        last = -(-self._size // self._segment_bytes)
        number, start = divmod(offset, self._segment_bytes)
        try:
            while data_bytes > 0:
                found = self._tree.next_leaf(self._root, number) if number < last else None
                if found is None:
                    break
                if found > number:
                    number, start = found, 0
                segment = self._segment(number)
                base = number * self._segment_bytes
                row = bisect_right(segment.ends, start)
                while row < len(segment.starts) and data_bytes > 0:
                    refs.append(segment.ref(row))
                    first = base + segment.starts[row] if first is None else first
                    data_bytes -= refs[-1].length
                    offset = base + segment.ends[row]
                    row += 1
                if row >= len(segment.starts):
                    number, start = number + 1, 0
        except (DamageFault, RepositoryFault):
            pass
        self._chunks.load_ahead(refs)
        return None if first is None else Window(first, offset)
