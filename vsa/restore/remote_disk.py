"""A disk of a recovery point brought back through a MediaAgent, into any `DiskWriter`.

Where the target holds a disk already, only what differs is brought: the chunks that the recovery point has there are
compared with the target's by their fingerprints, which are a thousandth of the data.

The disk is asked for a window at a time, several at once, each window one stream. A stream that breaks is asked for
again, and what it had brought is not written twice. What arrives is checked here: chunks by their fingerprints, and
that every byte of the window was a chunk, a hole or a loss.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from ext.fingerprint import Fingerprinter
from media.comparison import Comparison
from media.disk import Disk
from media.extents import Extent, normal, total
from media.faults import DamageFault, RecordCorrupt
from media.known_chunks import keys
from media.page import Leaf, decode_leaf
from media.reader import DiskWriter, Lost, Outcome
from media.record import expand_into
from media.restore_plan import neighbours
from proto import restore_pb2
from proto.data_plane import (
    End,
    Holes,
    Losses,
    Records,
    RestoredRecord,
    leaves_in,
    pack_extents,
    unpack_restore,
)
from proto.faults import PeerBroken, PeerBusy
from runtime.faults import Fault
from runtime.tasks import in_parallel
from vsa.faults import ReadBackDiffers
from vsa.media_agent import CONTROL_SECONDS, MediaAgentLine

WINDOW_BYTES = 256 << 20  # of the disk: what a stream that breaks may bring twice
STREAM_SECONDS = 3600.0
_ARENA_BYTES = 2 << 20  # plain bytes between two checks of fingerprints
_MOST_PLAIN_BYTES = 8 << 20


@dataclass(frozen=True)
class RemotePoint:
    """A recovery point, opened at a MediaAgent."""

    pool: str
    opened: restore_pb2.OpenPointReply

    @property
    def id(self) -> str:
        return self.opened.point.id


def open_point(line: MediaAgentLine, pool: str, point: str) -> RemotePoint:
    """Raises what the MediaAgent does: PointMissing, TicketRefused, DamageFault."""
    request = restore_pb2.OpenPointRequest(pool=pool, point=point)
    opened = line.again(lambda: line.restores.OpenPoint(request, timeout=CONTROL_SECONDS, metadata=line.ticket))
    return RemotePoint(pool, opened)


class RemoteDiskRestore:
    """Brings one disk back. Used once."""

    def __init__(
        self,
        line: MediaAgentLine,
        point: RemotePoint,
        disk: restore_pb2.PointDisk,
        target: DiskWriter,
        streams: int,
        advance: Callable[[int], None],
        present: Disk | None = None,
    ) -> None:
        """`present` reads what the target holds; without it everything is brought."""
        self._present = present
        self._line = line
        self._point = point
        self._disk = disk
        self._target = target
        self._streams = streams
        self._advance = advance
        self._segment_bytes = point.opened.segment_bytes
        self._window_segments = max(1, WINDOW_BYTES // self._segment_bytes)
        self._fingerprinter = Fingerprinter(point.opened.fingerprint_key)
        self._outcome = self.outcome = Outcome()
        self.compared_bytes = 0  # read from the target
        self._lock = threading.Lock()

    def run(self) -> Outcome:
        """Write the whole disk. Damage is not raised but told in the outcome; everything else raises."""
        in_parallel(self._streams, self._windows(), lambda _, window: self._restore(window))
        self._outcome.lost.sort(key=lambda lost: lost.extent)
        return self._outcome

    def prove(self, written: Disk, samples: int, choose: Callable[[list[int], int], list[int]]) -> int:
        """Read some segments back and compare them; how many bytes. `choose(segments, n)` chooses n of them.

        Raises ReadBackDiffers.
        """
        lost = {extent.offset // self._segment_bytes for extent in self._outcome.lost_extents}
        there = [segment for segment in self._held_segments().tolist() if segment not in lost]
        comparison = Comparison(written, self._fingerprinter, self._segment_bytes)
        for segment, leaf in self._leaves(sorted(choose(there, min(samples, len(there))))).items():
            compared = comparison.segment(segment, leaf)
            expected = 0 if leaf is None else int(leaf.lengths.sum(dtype=np.int64))
            if total(compared.same) != expected or compared.filled:
                raise ReadBackDiffers(
                    f"disk {self._disk.disk}, {self._segment_bytes} bytes at {segment * self._segment_bytes}: "
                    f"expected {expected} bytes as in {self._point.id}, found {total(compared.same)}"
                )
        return comparison.read_bytes

    def _held_segments(self) -> NDArray[np.int64]:
        """Those that are not all holes."""
        request = restore_pb2.DiskSegmentsRequest(pool=self._point.pool, point=self._point.id, disk=self._disk.disk)
        reply = self._line.again(
            lambda: self._line.restores.DiskSegments(request, timeout=STREAM_SECONDS, metadata=self._line.ticket)
        )
        return np.flatnonzero(np.unpackbits(np.frombuffer(reply.bitmap, np.uint8), bitorder="little"))

    def _windows(self) -> Iterator[Extent]:
        """The disk in windows; those that are all holes are told as such."""
        held = np.zeros(-(-self._disk.size // self._segment_bytes), bool)
        held[self._held_segments()] = True
        window_bytes = self._window_segments * self._segment_bytes
        for number, start in enumerate(range(0, self._disk.size, window_bytes)):
            window = Extent(start, min(window_bytes, self._disk.size - start))
            first = number * self._window_segments
            if self._present is not None or held[first : first + self._window_segments].any():
                yield window
            else:
                self._hole(window)

    def _held(self, window: Extent, present: Disk) -> list[Extent] | None:
        """What of the window the target holds already, normal. Holes that it has filled are emptied on the way.

        None where that cannot be told, because a leaf is damaged.
        """
        comparison = Comparison(present, self._fingerprinter, self._segment_bytes)
        first = window.offset // self._segment_bytes
        segments = list(range(first, -(-window.end // self._segment_bytes)))
        same: list[Extent] = []
        try:
            leaves = self._leaves(segments)
        except DamageFault:
            return None
        for segment, leaf in leaves.items():
            compared = comparison.segment(segment, leaf)
            for extent in compared.filled:
                self._target.write_zeros(extent.offset, extent.length)
            with self._lock:
                self._outcome.bytes_written += total(compared.filled)
            same += compared.same
        with self._lock:
            self.compared_bytes += comparison.read_bytes
        return normal(same)

    def _leaves(self, segments: list[int]) -> dict[int, Leaf | None]:
        request = restore_pb2.PointLeavesRequest(
            pool=self._point.pool, point=self._point.id, disk=self._disk.disk, segments=segments
        )
        line = self._line
        messages = line.again(
            lambda: list(line.data.point_leaves(request, timeout=STREAM_SECONDS, metadata=line.ticket))
        )
        leaves: dict[int, Leaf | None] = {}
        for framed in (each for message in messages for each in leaves_in(message)):
            where = f"disk {framed.disk}, segment {framed.segment} of {self._point.id}"
            leaves[framed.segment] = decode_leaf(framed.page, where) if framed.page else None
        if sorted(leaves) != segments:
            raise PeerBroken(f"restore: leaves of {len(leaves)} segments, expected those of {len(segments)}")
        return leaves

    def _hole(self, extent: Extent) -> None:
        if not self._target.reads_zero:
            self._target.write_zeros(extent.offset, extent.length)
        with self._lock:
            self._outcome.hole_bytes += extent.length
        self._advance(extent.length)

    def _restore(self, window: Extent) -> None:
        held = None if self._present is None else self._held(window, self._present)
        written = _Window(self, window, held)
        held = held or []
        with self._lock:
            self._outcome.kept_bytes += total(held)
        self._advance(total(held))
        request = restore_pb2.RestoreRequest(
            pool=self._point.pool,
            point=self._point.id,
            disk=self._disk.disk,
            first_segment=window.offset // self._segment_bytes,
            segments=-(-window.length // self._segment_bytes),
            held=pack_extents(held),
        )

        def stream() -> None:
            written.begin()
            line = self._line
            for raw in line.data.restore_disk(request, timeout=STREAM_SECONDS, metadata=line.ticket):
                written.take(raw)

        self._patiently(stream)
        written.finish()

    def _patiently(self, stream: Callable[[], None]) -> None:
        """A MediaAgent that has all hands full fails us only when no stream of ours moves meanwhile."""
        while True:
            before = self._outcome.bytes_written
            try:
                return self._line.again(stream)
            except PeerBusy:
                if self._outcome.bytes_written == before:
                    raise

    def check(self, memory: NDArray[np.uint8], starts: list[int], lengths: list[int]) -> list[bytes]:
        """The fingerprints of chunks in memory."""
        found = np.empty((len(starts), 32), np.uint8)
        self._fingerprinter.batch(memory, np.array(starts, np.uint32), np.array(lengths, np.uint32), found)
        return keys(found)

    def wrote(self, count: int) -> None:
        """So many bytes are at the target."""
        with self._lock:
            self._outcome.bytes_written += count
        self._advance(count)

    def lose(self, extent: Extent, fault: DamageFault) -> None:
        """Report what cannot be brought back; it reads as zero."""
        if not self._target.reads_zero:
            self._target.write_zeros(extent.offset, extent.length)
        with self._lock:
            self._outcome.lost.append(Lost(extent, fault))
        self._advance(extent.length)

    def hole(self, extent: Extent, *, is_empty: bool) -> None:
        """Nothing covers it. `is_empty`: it was made to read as zero when it was compared."""
        if not is_empty:
            self._hole(extent)
        else:
            with self._lock:
                self._outcome.hole_bytes += extent.length
            self._advance(extent.length)

    def write(self, offset: int, data: memoryview) -> None:
        """To the target."""
        self._target.write(offset, data)


class _Window:
    """What of a window is done. Belongs to one thread."""

    def __init__(self, restore: RemoteDiskRestore, window: Extent, held: list[Extent] | None) -> None:
        self._restore = restore
        self._window = window
        self._compared = held is not None
        self._memory = np.empty(_ARENA_BYTES, np.uint8)
        self._decompressor = zstandard.ZstdDecompressor()
        self._done: dict[int, int] = dict(held or [])  # offset -> length of every chunk, hole and loss
        self._pending: list[tuple[RestoredRecord, int]] = []
        self._end = 0
        self._ended = False

    def begin(self) -> None:
        """A stream begins, perhaps again."""
        self._pending, self._end, self._ended = [], 0, False

    def take(self, raw: bytes) -> None:
        """A message of the stream."""
        message = unpack_restore(raw)
        if isinstance(message, Records):
            for record in message.records:
                self._add(record)
        elif isinstance(message, Holes):
            for extent in self._new(message.extents):
                self._restore.hole(extent, is_empty=self._compared)
        elif isinstance(message, Losses):
            fault = damage(message.code, message.message)
            for extent in self._new(message.extents):
                self._restore.lose(extent, fault)
        elif isinstance(message, End):
            self._flush()
            self._ended = True

    def _new(self, extents: list[tuple[int, int]]) -> list[Extent]:
        """Those that were not done by a stream before; they are done now."""
        new = []
        for offset, length in extents:
            if self._done.get(offset) == length:
                continue
            if not self._window.offset <= offset < offset + length <= self._window.end:
                raise PeerBroken(f"restore: {length} bytes at {offset} are not of {self._window}")
            self._done[offset] = length
            new.append(Extent(offset, length))
        return new

    def _add(self, record: RestoredRecord) -> None:
        if not 0 < record.plain_len <= _MOST_PLAIN_BYTES:
            raise PeerBroken(f"restore: a chunk of {record.plain_len} bytes")
        if self._end + record.plain_len > len(self._memory):
            self._flush()
            if record.plain_len > len(self._memory):
                self._memory = np.empty(record.plain_len, np.uint8)
        out = memoryview(self._memory)[self._end : self._end + record.plain_len]
        if not expand_into(record.codec, record.content, self._decompressor, out):
            self._lost(record, "does not decompress to its length")
            return
        self._pending.append((record, self._end))
        self._end += record.plain_len

    def _lost(self, record: RestoredRecord, why: str) -> None:
        fault = RecordCorrupt(f"chunk {record.fingerprint.hex()[:16]} {why}")
        for extent in self._new([(offset, record.plain_len) for offset in record.offsets]):
            self._restore.lose(extent, fault)

    def _flush(self) -> None:
        """Check and write what was expanded, neighbours in one call."""
        pending, self._pending, self._end = self._pending, [], 0
        if not pending:
            return
        lengths = [record.plain_len for record, _ in pending]
        found = self._restore.check(self._memory, [start for _, start in pending], lengths)
        pieces = []
        for (record, start), fingerprint in zip(pending, found, strict=True):
            if fingerprint != record.fingerprint:
                self._lost(record, "is not what its fingerprint says")
                continue
            new = self._new([(offset, record.plain_len) for offset in record.offsets])
            pieces += [(extent.offset, start, extent.length) for extent in new]
        view = memoryview(self._memory)
        for offset, start, length in neighbours(pieces):
            self._restore.write(offset, view[start : start + length])
            self._restore.wrote(length)

    def finish(self) -> None:
        """Raises PeerBroken when something of the window was not told."""
        told = normal(Extent(*extent) for extent in self._done.items())
        if not self._ended or told != [self._window] or sum(self._done.values()) != self._window.length:
            raise PeerBroken(f"restore: {total(told)} bytes of {self._window} were told")


def damage(code: str, words: str) -> DamageFault:
    """The fault that somebody else met."""
    kind = Fault.registry.get(code)
    if kind is None or not issubclass(kind, DamageFault):
        return RecordCorrupt(f"{code}: {words}")
    return kind(words)
