"""Stand-ins with a behaviour of their own: a clock that a test moves, disks and targets in memory, bad repositories."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from media.extents import Extent, normal, within
from media.faults import DiskResized, DiskUnreadable, ObjectUnreadable, RepositoryFault
from media.repository import Buffer, Entry, Repository

BLOCK = 4096
PATIENCE_SECONDS = 60.0


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> str:
        minutes, seconds = divmod(int(self.seconds), 60)
        return f"2026-11-23T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.000000Z"

    def monotonic_seconds(self) -> float:
        return self.seconds

    def seconds_of_day(self) -> float:
        return self.seconds % 86400

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class SparseDisk:
    """Pieces of bytes by offset on a disk of any size; everything else is zero. Counts what is read of it."""

    def __init__(self, size: int, pieces: dict[int, bytes] | None = None) -> None:
        self.size = size
        self.pieces = dict(sorted((pieces or {}).items()))
        self.reads: list[Extent] = []
        self.fails_at: int | None = None
        self.shrinks_at: int | None = None
        self.resized = False
        self._lock = threading.Lock()

    @staticmethod
    def of(data: bytes | bytearray) -> SparseDisk:
        """The disk that holds `data`, and knows its zero blocks."""
        extents = normal(
            Extent(at, min(BLOCK, len(data) - at)) for at in range(0, len(data), BLOCK) if any(data[at : at + BLOCK])
        )
        return SparseDisk(len(data), {e.offset: bytes(data[e.offset : e.end]) for e in extents})

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        yield from within(normal(self._near(offset, length)), offset, length)

    def _near(self, offset: int, length: int) -> list[Extent]:
        pieces = self.pieces.items()
        return [Extent(at, len(piece)) for at, piece in pieces if at < offset + length and at + len(piece) > offset]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        with self._lock:
            self.reads.append(Extent(offset, len(buffer)))
        if self.fails_at is not None and offset <= self.fails_at < offset + len(buffer):
            raise DiskUnreadable(f"disk at {self.fails_at}: a fake that fails")
        if self.shrinks_at is not None and offset + len(buffer) > self.shrinks_at:
            raise DiskResized(f"disk ends at {self.shrinks_at}: a fake that shrank")
        buffer[:] = self.bytes(offset, len(buffer))

    def bytes(self, offset: int, length: int) -> bytes:
        """What the disk holds there."""
        out = bytearray(length)
        for at, piece in self.pieces.items():
            first, last = max(at, offset), min(at + len(piece), offset + length)
            if first < last:
                out[first - offset : last - offset] = piece[first - at : last - at]
        return bytes(out)

    def check(self) -> None:
        if self.resized:
            raise DiskResized("disk: a fake that was resized")

    @property
    def read_bytes(self) -> int:
        return sum(extent.length for extent in self.reads)


class MemoryTarget:
    """A target in memory, full of rubbish unless it reads zero, that refuses a second write to any byte."""

    def __init__(self, size: int, *, reads_zero: bool = True) -> None:
        self.data = bytearray(b"\0" if reads_zero else b"\xa5") * size
        self.zeroed: list[Extent] = []
        self.writes: list[Extent] = []
        self._reads_zero = reads_zero
        self._lock = threading.Lock()

    @property
    def reads_zero(self) -> bool:
        return self._reads_zero

    def write(self, offset: int, data: memoryview) -> None:
        self._note(self.writes, Extent(offset, len(data)))
        self.data[offset : offset + len(data)] = data

    def write_zeros(self, offset: int, length: int) -> None:
        self._note(self.zeroed, Extent(offset, length))
        self.data[offset : offset + length] = bytes(length)

    def _note(self, extents: list[Extent], extent: Extent) -> None:
        assert 0 <= extent.offset < extent.end <= len(self.data), extent
        with self._lock:
            extents.append(extent)

    def assert_nothing_twice(self) -> None:
        """No byte was written or zeroed more than once."""
        ordered = sorted([*self.writes, *self.zeroed])
        assert all(one.end <= two.offset for one, two in pairwise(ordered))


class SparseTarget:
    """A target of any size: the pieces that were written."""

    reads_zero = True

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}

    def write(self, offset: int, data: memoryview) -> None:
        self.pieces[offset] = bytes(data)

    def write_zeros(self, offset: int, length: int) -> None:
        raise AssertionError("it reads zero already")


class Around:
    """A repository around another; the same port. What a test overrides misbehaves."""

    def __init__(self, inner: Repository) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    def put_new(self, name: str, body: Buffer) -> None:
        self.inner.put_new(name, body)

    def get(self, name: str) -> bytes:
        return self.inner.get(name)

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return self.inner.get_extent(name, offset, length)

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        return self.inner.get_tail(name, length)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        return self.inner.list(prefix, after)

    def delete(self, name: str) -> None:
        self.inner.delete(name)


class Recording(Around):
    """Keeps the calls that were made, in order of their return."""

    def __init__(self, inner: Repository) -> None:
        super().__init__(inner)
        self.puts: list[str] = []
        self.fetched: list[tuple[str, int, int]] = []
        self.counts: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()

    def put_new(self, name: str, body: Buffer) -> None:
        super().put_new(name, body)
        self.puts.append(name)

    def get(self, name: str) -> bytes:
        self.counts["get " + name] += 1
        body = super().get(name)
        self.fetched.append((name, 0, len(body)))
        return body

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        self.counts["extent " + name] += 1
        self.fetched.append((name, offset, length))
        return super().get_extent(name, offset, length)

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        self.counts["tail " + name] += 1
        return super().get_tail(name, length)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        self.lists[prefix] += 1
        return super().list(prefix, after)


class Together(Around):
    """Answers extents of containers only when so many are asked for at once: 4, then 8, and so on up to `most`.

    What would be asked for one after another is never answered, and the test fails instead of being slow.
    """

    def __init__(self, inner: Repository, first: int, most: int) -> None:
        super().__init__(inner)
        self._wanted = first
        self._most = most
        self._waiting = 0
        self._generation = 0
        self._changed = threading.Condition()
        self.deepest = 0

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        with self._changed:
            if self.deepest < self._most:
                self._wait()
        return super().get_extent(name, offset, length)

    def _wait(self) -> None:
        self._waiting += 1
        self.deepest = max(self.deepest, self._waiting)
        if self._waiting >= self._wanted:
            self._wanted = min(2 * self._wanted, self._most)
            self._waiting = 0
            self._generation += 1
            self._changed.notify_all()
            return
        mine = self._generation
        assert self._changed.wait_for(lambda: self._generation != mine, PATIENCE_SECONDS), "too few at once"


class Unreadable(Around):
    """Getting the objects `names` fails; everything else is well."""

    def __init__(self, inner: Repository, names: set[str], fault: type[RepositoryFault] = ObjectUnreadable) -> None:
        super().__init__(inner)
        self._names, self._fault = names, fault

    def get(self, name: str) -> bytes:
        self._check(name)
        return super().get(name)

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        self._check(name)
        return super().get_extent(name, offset, length)

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        self._check(name)
        return super().get_tail(name, length)

    def _check(self, name: str) -> None:
        if name in self._names:
            raise self._fault(f"get {name}: Input/output error")


class OnPut(Around):
    """Calls `hook(name)` before every put, and `after(name)` behind it; what they raise is what the put raises."""

    def __init__(
        self, inner: Repository, hook: Callable[[str], None] | None = None, after: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(inner)
        self._hook = hook
        self._after = after

    def put_new(self, name: str, body: Buffer) -> None:
        if self._hook is not None:
            self._hook(name)
        super().put_new(name, body)
        if self._after is not None:
            self._after(name)
