"""New chunks into containers, and full containers to whoever keeps the session.

Each worker fills a container of its own; a bounded pool of buffers and uploads is all the memory there is, so a slow
repository slows the workers down and nothing grows.
"""

from __future__ import annotations

import mmap
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress

import zstandard

from media.container import ENTRY_BYTES, ContainerWriter, Footer, Kind
from media.record import Codec, Type, stored_size
from media.session_log import SessionLog
from runtime.tasks import LOOK_SECONDS, Threads

_SHRINKS = 0.97  # what does not shrink by 3 % is stored raw: reading it back is then free
_PROBE_BYTES = 4 << 10

Durable = Callable[[Footer], None]


class Uploads:
    """Puts full containers, several at once, from a bounded pool of buffers. Used by all workers of a session."""

    def __init__(self, log: SessionLog, buffers: int, threads: int, durable: Durable) -> None:
        self._log = log
        self._durable = durable
        self._size = log.terms.parameters.container_bytes
        self._most_records = self._size // (stored_size(0) + ENTRY_BYTES)
        self._unmade = buffers
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._executor = Threads(threads, thread_name_prefix="upload")
        self._pending: set[Future[None]] = set()
        self._failure: BaseException | None = None

    def open(self) -> ContainerWriter:
        """A new container; waits for a buffer. Raises what an earlier upload failed with."""
        self._raise_failure()
        buffer, key = self._buffer(), self._log.key_for(self._most_records)
        return ContainerWriter(buffer, self._log.next_cid(), Kind.DATA, self._log.terms.repository, key)

    def _buffer(self) -> memoryview:
        with suppress(queue.Empty):
            return self._free.get_nowait()
        with self._lock:
            if self._unmade:
                self._unmade -= 1
                return memoryview(mmap.mmap(-1, self._size))  # untouched memory costs nothing; begins at a page
        return self._free.get()

    def ship(self, writer: ContainerWriter) -> None:
        """Put a container in the background; `durable` is called when it lies there (W6)."""
        self._raise_failure()
        container, footer = writer.finish()
        future = self._executor.submit(self._put, writer, container, footer)
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._done)

    def _put(self, writer: ContainerWriter, container: memoryview, footer: Footer) -> None:
        try:
            self._log.put_container(writer.cid, container, footer)
            self._durable(footer)
        finally:
            self._free.put(writer.release())

    def _done(self, future: Future[None]) -> None:
        with self._lock:
            self._pending.discard(future)
            if not future.cancelled():
                self._failure = self._failure or future.exception()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Wait until everything shipped is durable. Raises what failed; when it is interrupted, `abandon` is next."""
        self._await_pending()
        self._executor.shutdown(wait=True)
        self._raise_failure()

    def abandon(self) -> None:
        """Stop: what has not begun is dropped. On return no upload runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._await_pending()

    def _await_pending(self) -> None:
        """Wait for the uploads themselves: a `shutdown` that was interrupted takes its threads for ended."""
        with self._lock:
            pending = [future for future in self._pending if not future.cancelled()]
        while wait(pending, LOOK_SECONDS).not_done:
            pass


class ChunkPacker:
    """Compresses, seals and packs the new chunks of one worker."""

    def __init__(self, uploads: Uploads, level: int) -> None:
        self._uploads = uploads
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=False)
        self._open: ContainerWriter | None = None
        self._stubborn = False  # the chunk before did not shrink: its neighbour probably will not

    def add(self, plain: memoryview, fingerprint: bytes) -> tuple[int, int]:
        """Store one chunk: its place, durable when its container is."""
        codec, content = self._squeeze(plain)
        if self._open is None or not self._open.has_room(len(content)):
            self.flush()
            self._open = self._uploads.open()
        return self._open.cid, self._open.append(Type.CHUNK, codec, content, len(plain), fingerprint)

    def _squeeze(self, plain: memoryview) -> tuple[Codec, bytes | memoryview]:
        if self._stubborn and len(plain) > 2 * _PROBE_BYTES:
            probe = plain[:_PROBE_BYTES]
            if len(self._compressor.compress(probe)) > _SHRINKS * len(probe):
                return Codec.RAW, plain
        content = self._compressor.compress(plain)
        self._stubborn = len(content) > _SHRINKS * len(plain)
        return (Codec.RAW, plain) if self._stubborn else (Codec.ZSTD, content)

    def flush(self) -> None:
        """Ship the open container."""
        if self._open is not None:
            writer, self._open = self._open, None
            self._uploads.ship(writer)
