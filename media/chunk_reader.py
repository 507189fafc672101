"""Chunks opened for whoever asks, in any order: fetched once however many ask, checked, kept up to a bound of bytes.

For random access. A restore, which knows all that it will read, plans by container instead (`media.reader`). Safe to
use from several threads; shared by all disks that are read at the same time, because they share chunks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np

from ext.fingerprint import Fingerprinter
from media.container import Footer
from media.container_reader import ContainerReader
from media.faults import DamageFault, RecordCorrupt, RecordMissing
from media.ids import Where
from media.known_chunks import keys
from media.pool import Pool
from media.record import HEADER_BYTES

P = ParamSpec("P")
T = TypeVar("T")

CACHE_BYTES = 256 << 20
# Enough to hide 30 ms of latency at 1 GB/s, and few enough for any server; with what they hold, 64 MiB.
REQUESTS_AT_ONCE = 32
_LOAD_BYTES = 1 << 20  # plain bytes that one thread fetches and opens at a time
_GAP_BYTES = 128 << 10  # unused bytes read rather than asking again
_FOOTER_LOCKS = 64


class ChunkRef(NamedTuple):
    """A chunk as a leaf names it: what it must be, and where it lies."""

    fingerprint: bytes
    length: int
    cid: int
    slot: int


Opened = bytes | DamageFault  # a chunk's plain bytes, or why it is lost


class _Load:
    """Chunks of one container on their way. When `done` is set, `opened` holds all of them unless the place failed."""

    def __init__(self, refs: list[ChunkRef]) -> None:
        self.refs = refs
        self.opened: dict[ChunkRef, Opened] = {}
        self.failure: BaseException | None = None
        self.done = threading.Event()


class ChunkReader:
    """One for all disks that are read at random. Its threads end with `close`, when nobody reads any more."""

    def __init__(
        self,
        pool: Pool,
        containers: ContainerReader,
        cache_bytes: int = CACHE_BYTES,
        requests_at_once: int = REQUESTS_AT_ONCE,
    ) -> None:
        self.containers = containers
        self.cache_bytes = cache_bytes
        self._fingerprinter = Fingerprinter(pool.keys.fingerprint)
        self._plain: OrderedDict[bytes, bytes] = OrderedDict()  # by fingerprint: wherever it came from, it was checked
        self._held_bytes = 0
        self._loads: dict[ChunkRef, _Load] = {}
        self._lock = threading.Lock()
        self._footer_locks = [threading.Lock() for _ in range(_FOOTER_LOCKS)]
        half = max(1, requests_at_once // 2)
        self._asked = ThreadPoolExecutor(half, "asked")  # apart: what somebody waits for stands behind nothing else
        self._ahead = ThreadPoolExecutor(max(1, requests_at_once - half), "ahead")

    def cached(self, fingerprint: bytes) -> bytes | None:
        """The plain bytes of a chunk that is here; None for one that has to be fetched."""
        with self._lock:
            plain = self._plain.get(fingerprint)
            if plain is not None:
                self._plain.move_to_end(fingerprint)
            return plain

    def opened(self, refs: Sequence[ChunkRef]) -> list[Opened]:
        """The chunks, in the order asked for, when the last of them is here.

        Damage is in the answer; faults of the repository as a place raise.
        """
        found, loads, mine = self._register(refs)
        for load in mine[1:]:
            self._asked.submit(self._run, load)
        if mine:
            self._run(mine[0])
        for load in loads:
            load.done.wait()
            if load.failure is not None:
                raise load.failure
            found.update(load.opened)
        return [found[ref] for ref in refs]

    def load_ahead(self, refs: Sequence[ChunkRef]) -> None:
        """Begin to open what is not here, for a reader who will come. Failures are the reader's to meet."""
        for load in self._register(refs)[2]:
            self._ahead.submit(self._run, load)

    def ahead(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `call` done beside loads that nobody waits for."""
        return self._ahead.submit(call, *args, **kwargs)

    def close(self) -> None:
        """End the threads. Nobody reads any more."""
        self._ahead.shutdown(cancel_futures=True)
        self._asked.shutdown()

    def __enter__(self) -> ChunkReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _register(self, refs: Iterable[ChunkRef]) -> tuple[dict[ChunkRef, Opened], list[_Load], list[_Load]]:
        """What is here; the loads that bring the rest; and those of them that are new, which the caller must run."""
        found: dict[ChunkRef, Opened] = {}
        loads: dict[_Load, None] = {}
        missing: dict[ChunkRef, None] = {}
        with self._lock:
            for ref in refs:
                plain = self._plain.get(ref.fingerprint)
                if plain is not None and len(plain) == ref.length:
                    self._plain.move_to_end(ref.fingerprint)
                    found[ref] = plain
                elif (load := self._loads.get(ref)) is not None:
                    loads[load] = None
                else:
                    missing[ref] = None
            mine = [_Load(group) for group in _groups(missing)]
            for load in mine:
                loads[load] = None
                for ref in load.refs:
                    self._loads[ref] = load
        return found, list(loads), mine

    def _run(self, load: _Load) -> None:
        try:
            load.opened = self._open(load.refs)
        except BaseException as failure:  # noqa: BLE001 # carried to everybody who waits
            load.failure = failure
        with self._lock:
            for ref in load.refs:
                del self._loads[ref]
                opened = load.opened.get(ref)
                if isinstance(opened, bytes):
                    self._keep(ref.fingerprint, opened)
        load.done.set()

    def _keep(self, fingerprint: bytes, plain: bytes) -> None:
        if fingerprint in self._plain:
            return
        self._plain[fingerprint] = plain
        self._held_bytes += len(plain)
        while self._held_bytes > self.cache_bytes and self._plain:
            _, dropped = self._plain.popitem(last=False)
            self._held_bytes -= len(dropped)

    def _open(self, refs: list[ChunkRef]) -> dict[ChunkRef, Opened]:
        """Chunks of one container: fetched in few requests, opened, checked."""
        cid = refs[0].cid
        results: dict[ChunkRef, Opened] = {}
        try:
            with self._footer_locks[cid % _FOOTER_LOCKS]:  # many want the same footer at once: one fetches it
                footer = self.containers.footer(cid)
        except DamageFault as fault:
            return dict.fromkeys(refs, fault)
        find_key = self.containers.key_finder(cid)
        good: list[tuple[ChunkRef, int, bytes]] = []
        for run in _runs(sorted(self._located(cid, refs, footer, results))):
            base = run[0][0]
            try:
                raw = memoryview(self.containers.extent(cid, base, max(end for _, end, _ in run) - base))
            except DamageFault as fault:
                results.update((ref, fault) for _, _, ref in run)
                continue
            for offset, _, ref in run:
                try:
                    header, plain = self.containers.decode(raw[offset - base :], cid, offset, find_key)
                    if header.fingerprint != ref.fingerprint or len(plain) != ref.length:
                        raise RecordCorrupt(f"{Where(cid, offset)}: not the chunk that the leaf page names")
                except DamageFault as fault:
                    results[ref] = fault
                    continue
                good.append((ref, offset, plain))
        self._check(cid, good, results)
        return results

    def _located(
        self, cid: int, refs: list[ChunkRef], footer: Footer, results: dict[ChunkRef, Opened]
    ) -> Iterator[tuple[int, int, ChunkRef]]:
        """Offset and end of each record in its container; what the container does not hold goes to `results`."""
        for ref in refs:
            try:
                entry = footer[self.containers.slot_of(cid, ref.slot, ref.fingerprint)]
            except RecordMissing as fault:
                results[ref] = fault
                continue
            offset = int(entry["offset"])
            yield offset, offset + HEADER_BYTES + int(entry["stored_len"]), ref

    def _check(self, cid: int, good: list[tuple[ChunkRef, int, bytes]], results: dict[ChunkRef, Opened]) -> None:
        """Compare the fingerprints of what was opened, in one call."""
        if not good:
            return
        lengths = np.array([ref.length for ref, _, _ in good], np.uint32)
        starts = np.cumsum(lengths, dtype=np.uint32) - lengths
        found = np.empty((len(good), 32), np.uint8)
        arena = np.frombuffer(b"".join(plain for _, _, plain in good), np.uint8)
        self._fingerprinter.batch(arena, starts, lengths, found)
        for (ref, offset, plain), key in zip(good, keys(found), strict=True):
            if key == ref.fingerprint:
                results[ref] = plain
            else:
                where = Where(cid, offset)
                results[ref] = RecordCorrupt(f"{where}: plain bytes are not what their fingerprint says")


def _groups(refs: Iterable[ChunkRef]) -> Iterator[list[ChunkRef]]:
    """What one thread fetches: chunks of one container, in the order in which they lie there if their slots are right,
    of 1 MiB at most.
    """
    group: list[ChunkRef] = []
    held = 0
    for ref in sorted(refs, key=lambda ref: (ref.cid, ref.slot)):
        if group and (group[0].cid != ref.cid or held + ref.length > _LOAD_BYTES):
            yield group
            group, held = [], 0
        group.append(ref)
        held += ref.length
    if group:
        yield group


def _runs(located: list[tuple[int, int, ChunkRef]]) -> Iterator[list[tuple[int, int, ChunkRef]]]:
    """Records that are fetched with one request."""
    run: list[tuple[int, int, ChunkRef]] = []
    for record in located:
        if run and record[0] - run[-1][1] > _GAP_BYTES:
            yield run
            run = []
        run.append(record)
    if run:
        yield run
