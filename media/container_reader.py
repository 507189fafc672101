"""Reading containers of a repository: footers, single records, whole containers; and W9, the confirmation of places.

Footers are remembered in memory up to a bound, footers and pages in local caches when those are given. Safe to use from
several threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import zstandard

from media.container import (
    FOOTER_DTYPE,
    HEADER_BYTES_MAX,
    TAIL_BYTES,
    ContainerHeader,
    Footer,
    decode_footer,
    decode_header,
    decode_trailer,
    header_length,
    scan,
)
from media.faults import (
    ContainerCorrupt,
    ContainerMissing,
    ContainerUnreadable,
    DamageFault,
    FormatTooNew,
    ObjectForeign,
    ObjectMissing,
    ObjectUnreadable,
    RecordCorrupt,
    RecordMissing,
)
from media.ids import CONTAINERS, RELOCATIONS, Where, cid_of_name, cid_text, container_name
from media.keys import SealingKey, decode_key_table, encode_key_table
from media.known_chunks import Fingerprints, Places
from media.pool import Pool
from media.record import HEADER_BYTES, Header, KeyFinder, read_header, read_record
from media.repository import Repository

FOOTERS_IN_MEMORY_BYTES = 48 << 20  # about a thousand containers, 32 GiB of disk
_HEAD_BYTES = 4 << 10  # a header with its key table, nearly always


def containers_of(repository: Repository) -> set[int]:
    """The containers that lie in a repository."""
    return {cid for entry in repository.list(CONTAINERS) if (cid := cid_of_name(entry.name)) is not None}


class FooterCache(Protocol):
    """Footers kept on the local disk. A cache: never raises, may forget."""

    def get(self, cid: int) -> bytes | None:
        """The footer of `cid` as it was put."""

    def put(self, cid: int, footer: bytes) -> None:
        """Keep it."""


class PageCache(Protocol):
    """Pages kept on the local disk, sealed as in the repository. A cache: never raises, may forget."""

    def get(self, cid: int, slot: int) -> bytes | None:
        """What was put."""

    def put(self, cid: int, pages: Iterable[tuple[int, bytes]]) -> None:
        """Keep these, each with the slot that it is asked for by."""


class ContainerReader:
    """One for each open pool."""

    def __init__(
        self,
        pool: Pool,
        cache: FooterCache | None = None,
        memory_bytes: int = FOOTERS_IN_MEMORY_BYTES,
        pages: PageCache | None = None,
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._pages = pages
        self._memory_bytes = memory_bytes
        self._footers: OrderedDict[int, Footer] = OrderedDict()
        self._held_bytes = 0
        self._being_read: dict[int, threading.Lock] = {}  # footers; who comes second waits, and does not ask again
        self._lock = threading.Lock()
        self._thread = threading.local()

    def remember(self, cid: int, footer: Footer) -> None:
        """Keep a footer that was just written or read."""
        self._keep(cid, footer)
        if self._cache is not None:
            self._cache.put(cid, footer.tobytes())

    def _keep(self, cid: int, footer: Footer) -> None:
        with self._lock:
            if cid not in self._footers:
                self._footers[cid] = footer
                self._held_bytes += footer.nbytes
                while self._held_bytes > self._memory_bytes and len(self._footers) > 1:
                    _, dropped = self._footers.popitem(last=False)
                    self._held_bytes -= dropped.nbytes

    def footer(self, cid: int) -> Footer:
        """The footer of `cid`, from its tail, or by scanning when its tail is lost.

        Raises ContainerMissing, ContainerUnreadable, ContainerCorrupt, ObjectForeign, FormatTooNew.
        """
        if (known := self._kept(cid)) is not None:
            return known
        with self._lock:
            reading = self._being_read.setdefault(cid, threading.Lock())
        with reading:
            try:
                if (known := self._kept(cid)) is not None:
                    return known
                return self._read_footer(cid)
            finally:
                with self._lock:
                    self._being_read.pop(cid, None)

    def _kept(self, cid: int) -> Footer | None:
        with self._lock:
            known = self._footers.get(cid)
            if known is not None:
                self._footers.move_to_end(cid)
            return known

    def _read_footer(self, cid: int) -> Footer:
        raw = self._cache.get(cid) if self._cache is not None else None
        if raw is not None:
            footer = np.frombuffer(raw, FOOTER_DTYPE)
            self._keep(cid, footer)
            return footer
        try:
            footer = self._footer_from_tail(cid)
        except (FormatTooNew, ContainerMissing, ObjectForeign):
            raise
        except DamageFault:
            footer = self._scanned(cid)
            self._keep(cid, footer)  # not in the cache: the container may be repaired
            return footer
        self.remember(cid, footer)
        return footer

    def _scanned(self, cid: int) -> Footer:
        container = memoryview(self.whole(cid))
        footer = scan(container, cid, self.records_start(container, cid))
        if not len(footer):
            decode_header(container, cid, self._pool.id)  # neither header nor records: that is no container
        return footer

    def records_start(self, container: memoryview, cid: int) -> int:
        """Where a scan for records begins: after the header, or at 0 where that is damaged as well."""
        try:
            return decode_header(container, cid, self._pool.id).header_len
        except ContainerCorrupt:
            return 0

    def _footer_from_tail(self, cid: int) -> Footer:
        name = container_name(cid)
        try:
            tail, size = self._pool.repository.get_tail(name, TAIL_BYTES)
            trailer = decode_trailer(memoryview(tail), cid, size)
            start = trailer.footer_offset - (size - len(tail))
            if start < 0:
                raw = self._pool.repository.get_extent(name, trailer.footer_offset, trailer.footer_len)
            else:
                raw = tail[start : start + trailer.footer_len]
        except ObjectMissing:
            raise self._missing(cid) from None
        except ObjectUnreadable as fault:
            raise ContainerUnreadable(f"{cid_text(cid)}: {fault}") from fault
        return decode_footer(raw, trailer, cid)

    def whole(self, cid: int) -> bytes:
        """All bytes of a container. Raises ContainerMissing, ContainerUnreadable."""
        return self.extent(cid, 0, -1)

    def extent(self, cid: int, offset: int, length: int) -> bytes:
        """`length` bytes of a container from `offset`; all of it for length -1.

        Raises ContainerMissing, ContainerUnreadable.
        """
        name = container_name(cid)
        try:
            if length < 0:
                return self._pool.repository.get(name)
            return self._pool.repository.get_extent(name, offset, length)
        except ObjectMissing:
            raise self._missing(cid) from None
        except ObjectUnreadable as fault:
            raise ContainerUnreadable(f"{cid_text(cid)}: {fault}") from fault

    def _missing(self, cid: int) -> DamageFault:
        """A container that is not there is lost, unless a later version's collection moved its records."""
        if next(iter(self._pool.repository.list(RELOCATIONS)), None) is not None:
            return FormatTooNew(f"{cid_text(cid)}: moved by collection, which this build does not know")
        return ContainerMissing(f"{cid_text(cid)}: expected at {container_name(cid)}, found nothing")

    def header(self, cid: int) -> ContainerHeader:
        """A container's header.

        Raises ContainerMissing, ContainerUnreadable, ContainerCorrupt, ObjectForeign, FormatTooNew.
        """
        head = self.extent(cid, 0, _HEAD_BYTES)
        if len(head) == _HEAD_BYTES < header_length(head):
            head = self.extent(cid, 0, min(header_length(head), HEADER_BYTES_MAX))
        return decode_header(memoryview(head), cid, self._pool.id)

    def key_finder(self, cid: int) -> KeyFinder:
        """Finds the keys of records in container `cid`; reads its header only when a key was not met before."""

        def find(key_id: int) -> SealingKey | None:
            key = self._pool.keys.data_key(key_id, {})
            if key is not None:
                return key
            try:
                table = self.header(cid).wrapped_keys
            except DamageFault:
                return self._key_of_session(cid, key_id)
            return self._pool.keys.data_key(key_id, table)

        return find

    def learn_key(self, cid: int, raw: bytes) -> None:
        """Meet the key of the record at the start of `raw`, so that who opens it need not ask the repository."""
        with contextlib.suppress(DamageFault):
            self.key_finder(cid)(read_header(memoryview(raw), cid_text(cid)).key_id)

    def _key_of_session(self, damaged: int, key_id: int) -> SealingKey | None:
        """The key from another container of the session: a lost header need not lose the records behind it."""
        session = container_name(damaged).rpartition("/")[0] + "/"
        for entry in self._pool.repository.list(session):
            cid = cid_of_name(entry.name)
            if cid is None or cid == damaged:
                continue
            try:
                key = self._pool.keys.data_key(key_id, self.header(cid).wrapped_keys)
            except DamageFault:
                continue
            if key is not None:
                return key
        return None

    def confirm(self, places: Places, fingerprints: Fingerprints) -> Places:
        """W9: the places whose container's footer holds the whole fingerprint there; every other becomes a miss.

        A container that is missing or damaged confirms nothing.
        """
        confirmed = Places.unknown(len(fingerprints))
        for cid in np.unique(places.cids[places.cids != 0]).tolist():
            rows = np.flatnonzero(places.cids == cid)
            try:
                footer = self.footer(cid)
            except DamageFault:
                continue
            slots = places.slots[rows]
            rows = rows[slots < len(footer)]
            slots = places.slots[rows]
            same = (footer["fingerprint"][slots] == fingerprints[rows]).all(axis=1)
            confirmed.cids[rows[same]] = cid
            confirmed.slots[rows[same]] = slots[same]
        return confirmed

    def slot_of(self, cid: int, slot: int, fingerprint: bytes) -> int:
        """The slot where `fingerprint` is: `slot` itself (a hint), or found in the footer. Raises RecordMissing."""
        footer = self.footer(cid)
        if slot < len(footer) and footer["fingerprint"][slot].tobytes() == fingerprint:
            return slot
        wanted = np.frombuffer(fingerprint, np.uint8)
        found = np.flatnonzero((footer["fingerprint"] == wanted).all(axis=1))
        if not len(found):
            raise RecordMissing(f"{cid_text(cid)}: none of its {len(footer)} records is {fingerprint.hex()[:16]}")
        return int(found[0])

    def record(self, cid: int, slot: int, fingerprint: bytes) -> bytes:
        """The plain bytes of one record; its fingerprint is checked by the caller, who knows which key it is by.

        Raises any DamageFault, named with cid and offset.
        """
        return self._record(cid, slot, fingerprint)[1]

    def page(self, cid: int, slot: int, fingerprint: bytes) -> bytes:
        """As `record`, and kept in the cache of pages."""
        raw, plain = self._record(cid, slot, fingerprint)
        if self._pages is not None:
            self._pages.put(cid, [(slot, self._with_key(raw, {}))])
        return plain

    def kept_page(self, cid: int, slot: int, fingerprint: bytes) -> bytes | None:
        """The plain bytes of a page that the cache has, opened and checked as if they came from the repository."""
        kept = None if self._pages is None else self._pages.get(cid, slot)
        if kept is None:
            return None
        view = memoryview(kept)
        try:
            wrapped, at = decode_key_table(view)
            header, plain = self.decode(view[at:], cid, 0, lambda key_id: self._pool.keys.data_key(key_id, wrapped))
        except (DamageFault, ValueError):
            return None
        return plain if header.fingerprint == fingerprint else None

    def remember_pages(self, cid: int, container: memoryview, footer: Footer) -> None:
        """Keep the pages of a container that was just written."""
        if self._pages is None:
            return
        wrapped = decode_header(container, cid, self._pool.id).wrapped_keys
        starts = footer["offset"].tolist()
        ends = (footer["offset"] + HEADER_BYTES + footer["stored_len"]).tolist()
        records = [container[start:end] for start, end in zip(starts, ends, strict=True)]
        self._pages.put(cid, ((slot, self._with_key(record, wrapped)) for slot, record in enumerate(records)))

    def _with_key(self, record: memoryview, wrapped: dict[int, bytes]) -> bytes:
        """A record as it lies in the repository, behind the table of its key."""
        key = self._pool.keys.data_key(read_header(record, "a record that was opened").key_id, wrapped)
        assert key is not None, "it was met, or is in the table of the container that it lies in"
        return b"".join((encode_key_table(key), record))

    def _record(self, cid: int, slot: int, fingerprint: bytes) -> tuple[memoryview, bytes]:
        entry = self.footer(cid)[self.slot_of(cid, slot, fingerprint)]
        offset = int(entry["offset"])
        raw = memoryview(self.extent(cid, offset, HEADER_BYTES + int(entry["stored_len"])))
        header, plain = self.decode(raw, cid, offset, self.key_finder(cid))
        if header.fingerprint != fingerprint:
            found, wanted = header.fingerprint.hex()[:16], fingerprint.hex()[:16]
            raise RecordCorrupt(f"{Where(cid, offset)}: record of {found}, footer says {wanted}")
        return raw, plain

    def decode(self, raw: memoryview, cid: int, offset: int, find_key: KeyFinder) -> tuple[Header, bytes]:
        """The record at the start of `raw`, which lies at `offset` of container `cid`."""
        decompressor = getattr(self._thread, "decompressor", None)
        if decompressor is None:
            decompressor = self._thread.decompressor = zstandard.ZstdDecompressor()
        return read_record(raw, Where(cid, offset), find_key, decompressor, sealed_pool=self._pool.parameters.encrypted)
