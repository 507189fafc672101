"""Verification: is what the repository holds what was written?

`verify_point` reads one recovery point as a restore would, to nowhere. `verify_all` reads every container whole, byte
by byte, and then walks every point's pages once each, so shared data is read once however many points refer to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import xxhash

from ext.fingerprint import Fingerprinter
from media.container import TRAILER_BYTES, Footer, decode_footer, decode_header, decode_trailer, scan
from media.container_reader import ContainerReader
from media.extents import Extent, within
from media.faults import ContainerCorrupt, ContainerMissing, DamageFault, RecordCorrupt
from media.ids import CONTAINERS, cid_of_name, cid_text, container_name
from media.known_chunks import keys
from media.page import HEAD_BYTES as PAGE_HEAD_BYTES
from media.page import Leaf, PageRef, fingerprint_of, places_start
from media.pool import Pool
from media.reader import DiskRestore, Lost, Outcome
from media.record import Type
from media.recovery_point import Commit, DiskTree, Points, RecoveryPoint, read_point
from media.tree import TreeReader
from runtime.tasks import ahead, in_parallel

_BATCH_BYTES = 4 << 20
_AHEAD_BYTES = 128 << 20  # of containers read whole before their turn
_LEAVES_AHEAD = 32


class Nowhere:
    """A target that keeps nothing."""

    reads_zero = True

    def write(self, offset: int, data: memoryview) -> None:
        """Drop it."""

    def write_zeros(self, offset: int, length: int) -> None:
        """Drop it."""


def verify_point(
    pool: Pool, containers: ContainerReader, point: RecoveryPoint, workers: int, advance: Callable[[int], None]
) -> list[Outcome]:
    """Read every byte of a point's disks as a restore would: one outcome a disk."""
    return [DiskRestore(pool, containers, disk, Nowhere(), workers, advance).run() for disk in point.disks]


def containers_of_lost(pool: Pool, containers: ContainerReader, disk: DiskTree, lost: list[Extent]) -> set[int]:
    """Where the chunks of these extents should lie. Those of an unreadable page are not known."""
    tree = TreeReader(containers, pool.keys.page)
    segment_bytes = pool.parameters.segment_bytes
    found: set[int] = set()
    for segment, ref in tree.leaves(disk.root, lambda *_: None):
        inside = list(within(lost, segment * segment_bytes, segment_bytes))
        if not inside:
            continue
        try:
            leaf = tree.leaf(ref, segment)
        except DamageFault:
            continue
        starts = leaf.offsets.astype("u8") + segment * segment_bytes
        for extent in inside:
            rows = (starts < extent.end) & (starts + leaf.lengths > extent.offset)
            found.update(leaf.places.cids[rows].tolist())
    return found


@dataclass
class DamagedContainer:
    """What is wrong in one container, and the fingerprints of what can be read in spite of it."""

    faults: list[DamageFault]
    readable: frozenset[bytes]


@dataclass
class Verdict:
    """What `verify_all` found. `lost` holds, by recovery point and disk, what a restore would not bring back."""

    containers: int = 0
    records: int = 0
    bytes: int = 0
    damaged: dict[int, DamagedContainer] = field(default_factory=dict)
    unreadable_points: dict[int, DamageFault] = field(default_factory=dict)
    lost: dict[int, dict[int, list[Lost]]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not (self.damaged or self.unreadable_points or self.lost)


class Verification:
    """One run over a whole repository."""

    def __init__(
        self,
        pool: Pool,
        containers: ContainerReader,
        workers: int,
        begin: Callable[[int], None],
        advance: Callable[[int], None],
    ) -> None:
        self._pool = pool
        self._containers = containers
        self._workers = workers
        self._begin = begin
        self._advance = advance
        self._tree = TreeReader(containers, pool.keys.page)
        self._fingerprinter = Fingerprinter(pool.keys.fingerprint)
        self._lock = threading.Lock()
        self._verdict = Verdict()
        self._there: set[int] = set()
        self._good_leaves: set[tuple[PageRef, int]] = set()  # by place: never by fingerprint alone

    def run(self, points: Points) -> Verdict:
        """Verify everything. Damage is in the verdict; faults of the repository as a place raise."""
        entries = [(e, cid) for e in self._pool.repository.list(CONTAINERS) if (cid := cid_of_name(e.name)) is not None]
        self._begin(sum(entry.size for entry, _ in entries))
        self._there = {cid for _, cid in entries}
        most = max(2, _AHEAD_BYTES // self._pool.parameters.container_bytes)
        wholes = ahead(most, [cid for _, cid in entries], self._whole)
        in_parallel(self._workers, wholes, lambda _, read: self._container(*read))
        self._verdict.unreadable_points.update(points.damaged)
        for commit in points.commits:
            self._point(commit)
        return self._verdict

    def _whole(self, cid: int) -> bytes | DamageFault:
        try:
            return self._containers.whole(cid)
        except DamageFault as fault:
            return fault

    def _container(self, cid: int, read: bytes | DamageFault) -> None:
        faults: list[DamageFault] = []
        readable: frozenset[bytes] = frozenset()
        size = records = 0
        try:
            if isinstance(read, DamageFault):
                raise read
            container = memoryview(read)
            size = len(container)
            try:
                decode_header(container, cid, self._pool.id)
            except ContainerCorrupt as damage:
                faults.append(damage)  # its records may be read all the same
            footer = self._footer(container, cid, faults)
            records = len(footer)
            bad = set()
            for slot, fault in self._records(container, footer, cid):
                faults.append(fault)
                bad.add(slot)
            if faults:
                readable = frozenset(key for slot, key in enumerate(keys(footer["fingerprint"])) if slot not in bad)
        except DamageFault as fault:
            faults.append(fault)
        with self._lock:
            self._verdict.containers += 1
            self._verdict.records += records
            self._verdict.bytes += size
            if faults:
                self._verdict.damaged[cid] = DamagedContainer(faults, readable)
        self._advance(size)

    def _footer(self, container: memoryview, cid: int, faults: list[DamageFault]) -> Footer:
        """The footer; when the tail is damaged, that fault and what scanning finds.

        Also checks the hash of the whole.
        """
        try:
            trailer = decode_trailer(container[-TRAILER_BYTES:], cid, len(container))
            raw = bytes(container[trailer.footer_offset : trailer.footer_offset + trailer.footer_len])
            footer = decode_footer(raw, trailer, cid)
        except DamageFault as fault:
            faults.append(fault)
            return scan(container, cid, self._containers.records_start(container, cid))
        if xxhash.xxh3_128_digest(container[: trailer.footer_offset]) != trailer.body_hash:
            where = f"{cid_text(cid)}: its {trailer.footer_offset} bytes at 0"
            faults.append(ContainerCorrupt(f"{where} are not the ones that its trailer's hash covers"))
        return footer

    def _records(self, container: memoryview, footer: Footer, cid: int) -> Iterator[tuple[int, DamageFault]]:
        """The slots that cannot be read, and why."""
        find_key = self._containers.key_finder(cid)
        batch: list[tuple[int, bytes]] = []
        held = 0
        for slot, offset in enumerate(footer["offset"].tolist()):
            try:
                header, plain = self._containers.decode(container[offset:], cid, offset, find_key)
                if header.fingerprint != footer["fingerprint"][slot].tobytes():
                    raise RecordCorrupt(
                        f"{cid_text(cid)} at {offset}: not the record that the footer names in slot {slot}"
                    )
                if header.type == Type.PAGE and self._page_fingerprint(plain) != header.fingerprint:
                    raise RecordCorrupt(f"{cid_text(cid)} at {offset}: page is not what its fingerprint says")
                if header.type not in (Type.CHUNK, Type.PAGE):
                    raise RecordCorrupt(f"{cid_text(cid)} at {offset}: record of type {header.type} in a container")
            except DamageFault as fault:
                yield slot, fault
                continue
            if header.type == Type.CHUNK:
                batch.append((slot, plain))
                held += len(plain)
            if held >= _BATCH_BYTES:
                yield from self._fingerprints(batch, footer, cid)
                batch, held = [], 0
        yield from self._fingerprints(batch, footer, cid)

    def _page_fingerprint(self, plain: bytes) -> bytes:
        if len(plain) < PAGE_HEAD_BYTES:
            return b""
        return fingerprint_of(self._pool.keys.page, plain[: places_start(plain)])

    def _fingerprints(
        self, batch: list[tuple[int, bytes]], footer: Footer, cid: int
    ) -> Iterator[tuple[int, DamageFault]]:
        slots = [slot for slot, _ in batch]
        lengths = np.array([len(plain) for _, plain in batch], np.uint32)
        offsets = (np.cumsum(lengths, dtype=np.uint32) - lengths).astype(np.uint32)
        found = np.empty((len(batch), 32), np.uint8)
        self._fingerprinter.batch(
            np.frombuffer(b"".join(plain for _, plain in batch), np.uint8), offsets, lengths, found
        )
        for row in np.flatnonzero((found != footer["fingerprint"][slots]).any(axis=1)).tolist():
            slot = slots[row]
            where = f"{cid_text(cid)} at {footer['offset'][slot]}"
            yield slot, RecordCorrupt(f"{where}: plain bytes are not what their fingerprint says")

    def _point(self, commit: Commit) -> None:
        try:
            point = read_point(self._pool, commit)
        except DamageFault as fault:
            self._verdict.unreadable_points[commit.sid] = fault
            return
        for disk in point.disks:
            lost = list(self._disk(disk))
            if lost:
                self._verdict.lost.setdefault(commit.sid, {})[disk.disk] = lost

    def _disk(self, disk: DiskTree) -> Iterator[Lost]:
        segment_bytes = self._pool.parameters.segment_bytes
        lost: list[Lost] = []

        def lose(first: int, count: int, fault: DamageFault) -> None:
            offset = first * segment_bytes
            lost.append(Lost(Extent(offset, min((first + count) * segment_bytes, disk.size) - offset), fault))

        refs = (item for item in self._tree.leaves(disk.root, lose) if item[::-1] not in self._good_leaves)
        for (segment, ref), leaf in ahead(_LEAVES_AHEAD, refs, self._read_leaf):
            if isinstance(leaf, DamageFault):
                lose(segment, 1, leaf)
                continue
            bad = list(self._leaf(leaf, segment * segment_bytes))
            lost += bad
            if not bad:
                self._good_leaves.add((ref, segment))
        yield from lost

    def _read_leaf(self, item: tuple[int, PageRef]) -> Leaf | DamageFault:
        segment, ref = item
        try:
            return self._tree.leaf(ref, segment)
        except DamageFault as fault:
            return fault

    def _leaf(self, leaf: Leaf, base: int) -> Iterator[Lost]:
        """The chunks of a leaf that cannot be read: not in the container that it names, or found damaged there.

        A remembered footer is asked only about containers that were read whole and found good.
        """
        confirmed = self._containers.confirm(leaf.places, leaf.fingerprints)
        named = set(np.unique(leaf.places.cids).tolist())
        doubtful = np.array(sorted((named - self._there) | (named & self._verdict.damaged.keys())), np.uint64)
        for row in np.flatnonzero((confirmed.cids == 0) | np.isin(leaf.places.cids, doubtful)).tolist():
            fault = self._chunk(
                int(leaf.places.cids[row]), int(leaf.places.slots[row]), leaf.fingerprints[row].tobytes()
            )
            if fault is not None:
                yield Lost(Extent(base + int(leaf.offsets[row]), int(leaf.lengths[row])), fault)

    def _chunk(self, cid: int, slot: int, fingerprint: bytes) -> DamageFault | None:
        """Why a chunk cannot be read; None when it can."""
        damaged = self._verdict.damaged.get(cid)
        if damaged is not None:
            return None if fingerprint in damaged.readable else damaged.faults[0]
        if cid not in self._there:
            return ContainerMissing(f"{cid_text(cid)}: expected at {container_name(cid)}, found nothing")
        try:
            self._containers.slot_of(cid, slot, fingerprint)
        except DamageFault as fault:
            return fault
        return None
