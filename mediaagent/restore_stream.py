"""Some segments of a disk as a stream: planned by container, fetched ahead, unsealed and sent still compressed.

Whoever restores decompresses and checks fingerprints: the wire carries compressed bytes, and the work is shared. What
is lost is told like everything else, and the rest is sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from media.extents import Extent, within
from media.faults import DamageFault, RecordCorrupt
from media.ids import Where
from media.record import unseal_record
from media.recovery_point import DiskTree
from media.restore_plan import Chunks, Run, Wanted, confirmed, runs
from mediaagent.open_pools import OpenPool
from proto.channels import BULK_BYTES
from proto.data_plane import End, Holes, Losses, Records, RestoredRecord, RestoreMessage

_AHEAD = 2  # runs of up to 8 MiB that are fetched while one is sent

Item = Losses | Run
Fetched = tuple[Run, bytes | DamageFault]


class RestoreStream:
    """Used once, by one thread."""

    def __init__(self, served: OpenPool, disk: DiskTree, segments: range, held: Sequence[Extent] = ()) -> None:
        """Chunks that lie in `held`, normal, are not sent: the target has them."""
        self._served = served
        self._containers = served.containers
        self._sealed = served.pool.parameters.encrypted
        self._disk = disk
        self._segment_bytes = served.pool.parameters.segment_bytes
        self._segments = segments
        self._held = list(held)
        self._start = min(segments.start * self._segment_bytes, disk.size)
        self._end = min(segments.stop * self._segment_bytes, disk.size)

    def messages(self) -> Iterator[RestoreMessage]:
        """Everything, ended by an End. Raises RepositoryFault."""
        chunks, lost = self._plan()
        yield from lost
        covered = within([Extent(*extent) for loss in lost for extent in loss.extents], 0, self._disk.size)
        holes = [(hole.offset, hole.length) for hole in chunks.holes(covered, self._start, self._end)]
        if holes:
            yield Holes(holes)
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="fetch") as executor:
            try:
                for item in self._ahead(executor, chunks.outside(self._held)):
                    yield from [item] if isinstance(item, Losses) else self._unsealed(*item)
            finally:
                executor.shutdown(wait=True, cancel_futures=True)
        yield End()

    def _plan(self) -> tuple[Chunks, list[Losses]]:
        parts, lost = [], []
        for segment in self._segments:
            start = segment * self._segment_bytes
            if start >= self._disk.size:
                break
            try:
                ref = self._served.tree.leaf_ref(self._disk.root, segment)
                if ref is not None:
                    parts.append(Chunks.of(self._served.tree.leaf(ref, segment), start))
            except DamageFault as fault:
                end = min(start + self._segment_bytes, self._disk.size)
                lost.append(_losses([Extent(start, end - start)], fault))
        return Chunks.joined(parts), lost

    def _ahead(self, executor: ThreadPoolExecutor, chunks: Chunks) -> Iterator[Losses | Fetched]:
        fetching: deque[Future[Fetched]] = deque()
        for item in self._items(chunks):
            if isinstance(item, Losses):
                yield item
                continue
            fetching.append(executor.submit(self._fetch, item))
            if len(fetching) > _AHEAD:
                yield fetching.popleft().result()
        while fetching:
            yield fetching.popleft().result()

    def _items(self, chunks: Chunks) -> Iterator[Item]:
        for group in chunks.by_container():
            cid = int(group.cids[0])
            try:
                footer = self._containers.footer(cid)
            except DamageFault as fault:
                yield _losses(group.extents(0, len(group.slots)), fault)
                continue
            found, missing = confirmed(group, footer, partial(self._containers.slot_of, cid))
            for row, why in missing:
                yield _losses(group.extents(row, row + 1), why)
            yield from runs(cid, found, footer)

    def _fetch(self, run: Run) -> Fetched:
        try:
            return run, self._containers.extent(run.cid, run.offset, run.length)
        except DamageFault as fault:  # gone, though its footer is remembered
            return run, fault

    def _unsealed(self, run: Run, raw: bytes | DamageFault) -> Iterator[RestoreMessage]:
        if isinstance(raw, DamageFault):
            yield _losses(run.chunks.extents(run.records[0].first_row, run.records[-1].last_row), raw)
            return
        view, find_key = memoryview(raw), self._containers.key_finder(run.cid)
        offsets = run.chunks.offsets.tolist()
        batch: list[RestoredRecord] = []
        held = 0
        for record in run.records:
            where = Where(run.cid, record.offset)
            try:
                header, content = unseal_record(
                    view[record.offset - run.offset :], where, find_key, sealed_pool=self._sealed
                )
                if header.fingerprint != record.fingerprint or header.plain_len != record.plain_len:
                    raise RecordCorrupt(f"{where}: not the record that the footer names in slot {record.slot}")
            except DamageFault as fault:
                yield _losses(run.chunks.extents(record.first_row, record.last_row), fault)
                continue
            batch.append(_restored(record, offsets, header.codec, content))
            held += len(content)
            if held >= BULK_BYTES:
                yield Records(batch)
                batch, held = [], 0
        if batch:
            yield Records(batch)


def _restored(record: Wanted, offsets: list[int], codec: int, content: bytes) -> RestoredRecord:
    places = tuple(offsets[record.first_row : record.last_row])
    return RestoredRecord(places, codec, record.plain_len, record.fingerprint, content)


def _losses(extents: list[Extent], fault: DamageFault) -> Losses:
    return Losses([(extent.offset, extent.length) for extent in extents], fault.code, str(fault)[:1000])
