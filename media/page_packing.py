"""Pages into containers of their own, apart from data: they stay hot when data tiers down."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable

import zstandard

from media.container import ENTRY_BYTES, ContainerWriter, Footer, Kind
from media.page import Page, PageRef, encode, fingerprint_of
from media.record import Codec, Type, stored_size
from media.session import Session

Put = Callable[[int, memoryview, Footer], None]


class PagePacker:
    """Packs the pages of a session and puts full containers. Safe to use from several threads.

    Its memory is one buffer, taken with the first page: a container of pages is full so rarely that who fills it can
    wait until it lies in the repository.
    """

    def __init__(self, session: Session, put: Put, container_bytes: int) -> None:
        self._session = session
        self._put = put
        self._container_bytes = container_bytes
        self._most_records = container_bytes // (stored_size(0) + ENTRY_BYTES)
        self._page_key = session.pool.keys.page
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self._buffer: memoryview | None = None
        self._open: ContainerWriter | None = None
        self._lock = threading.Lock()

    def add(self, page: Page) -> PageRef:
        """Store a page: where it is. Never looked for in an index, always written anew (W8)."""
        covered, places = encode(page)
        fingerprint = fingerprint_of(self._page_key, covered)
        plain = covered + places
        with self._lock:
            content = self._compressor.compress(plain)
            if self._open is None or not self._open.has_room(len(content)):
                self._ship()
                self._open = self._new()
            slot = self._open.append(Type.PAGE, Codec.ZSTD, content, len(plain), fingerprint)
            return PageRef(fingerprint, self._open.cid, slot)

    def _new(self) -> ContainerWriter:
        if self._buffer is None:
            self._buffer = memoryview(mmap.mmap(-1, self._container_bytes))
        key = self._session.key_for(self._most_records)
        return ContainerWriter(self._buffer, self._session.next_cid(Kind.PAGES), Kind.PAGES, self._session.pool.id, key)

    def flush(self) -> None:
        """Put the open container. On return every page is durable, and no buffer is held."""
        with self._lock:
            self._ship()
            self._buffer = None

    def drop(self) -> None:
        """Forget the open container: nobody will refer to it."""
        with self._lock:
            self._open = self._buffer = None

    def _ship(self) -> None:
        if self._open is not None:
            writer, self._open = self._open, None
            self._put(writer.cid, *writer.finish())
