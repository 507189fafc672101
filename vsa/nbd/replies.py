"""Commands that were sent and what came back for them so far: no byte is taken that the command did not ask for."""

from __future__ import annotations

from typing import Final

from media.extents import Extent, normal, total
from vsa.faults import NbdMalformed
from vsa.nbd import wire
from vsa.nbd.numbers import CHUNK_ERROR, REPLY_DONE, STRING_MAX_BYTES, Chunk, Command
from vsa.nbd.stream import Stream, receive
from vsa.nbd.wire import ChunkHead, ErrorChunk, Request, StatusExtent

STATUS_MAX_BYTES = 8 << 20  # of one reply: a million extents
_ERROR_MAX_BYTES = 4 + 2 + STRING_MAX_BYTES + 8
_SECTOR_BYTES = 512


class Call:
    """One command. `buffer` is where a read goes; it is written to until the call is done."""

    def __init__(self, connection: str, request: Request, buffer: memoryview | None, contexts: frozenset[int]) -> None:
        self._connection = connection
        self.request: Final = request
        self.error: ErrorChunk | None = None
        self.status: dict[int, list[StatusExtent]] = {}
        self.done = False
        self.awaited = False  # a thread sleeps until it is done, or receives for it
        self._buffer = buffer
        self._contexts = contexts
        self._covered: list[Extent] = []
        self._chunks_left = 16 + (0 if buffer is None else request.length // _SECTOR_BYTES)
        self._status_left = STATUS_MAX_BYTES

    def take_simple(self, error: int, stream: Stream, *, structured: bool) -> None:
        """A simple reply, which ends the call. Raises NbdMalformed."""
        if error:
            self.error = ErrorChunk(error, "", None)
        elif self.request.command == Command.BLOCK_STATUS or (structured and self._buffer is not None):
            raise NbdMalformed(f"{self}: expected a structured reply, found a simple one")
        elif self._buffer is not None:
            stream.receive_into(self._buffer)
        self.done = True  # last: another thread may be waiting for it

    def take_chunk(self, head: ChunkHead, stream: Stream) -> None:
        """One chunk of a structured reply. Raises NbdMalformed."""
        self._chunks_left -= 1
        if self._chunks_left < 0:
            raise NbdMalformed(f"{self}: expected chunks of {_SECTOR_BYTES} bytes or more, found smaller ones")
        if head.kind == Chunk.OFFSET_DATA:
            self._take_data(head.length, stream)
        elif head.kind == Chunk.OFFSET_HOLE:
            self._expect_length(head, 12, 12)
            offset, length = wire.decode_hole(receive(stream, head.length))
            self._cover(offset, length)[:] = bytes(length)
        elif head.kind == Chunk.BLOCK_STATUS:
            self._take_status(head, stream)
        elif head.kind == Chunk.NONE:
            self._expect_length(head, 0, 0)
            if not head.flags & REPLY_DONE:
                raise NbdMalformed(f"{self}: expected an empty chunk to be the last")
        elif head.kind & CHUNK_ERROR:
            self._expect_length(head, 6, _ERROR_MAX_BYTES)
            error = wire.decode_error(head.kind, receive(stream, head.length))
            self.error = self.error or error
        else:
            raise NbdMalformed(f"{self}: expected a chunk of a kind that we know, found kind {head.kind}")
        if head.flags & REPLY_DONE:
            self._check_whole()
            self.done = True  # last: another thread may be waiting for it

    def _take_data(self, length: int, stream: Stream) -> None:
        if not 8 < length <= 8 + self.request.length:
            raise NbdMalformed(f"{self}: expected 1 to {self.request.length} bytes, found {length - 8}")
        offset = int.from_bytes(receive(stream, 8), "big")
        stream.receive_into(self._cover(offset, length - 8))

    def _cover(self, offset: int, length: int) -> memoryview:
        """The place of [offset, offset + length) in the buffer, where nothing came yet as far as that shows."""
        first = offset - self.request.offset
        if self._buffer is None or first < 0 or first + length > self.request.length:
            raise NbdMalformed(f"{self}: found {length} bytes at {offset}, which were not asked for")
        if self._covered and self._covered[-1].end == offset:
            self._covered[-1] = Extent(self._covered[-1].offset, self._covered[-1].length + length)
        else:
            self._covered.append(Extent(offset, length))
        return self._buffer[first : first + length]

    def _take_status(self, head: ChunkHead, stream: Stream) -> None:
        self._status_left -= head.length
        if self.request.command != Command.BLOCK_STATUS or self._status_left < 0:
            raise NbdMalformed(f"{self}: found a block status of {head.length} bytes, which was not asked for")
        context, extents = wire.decode_block_status(receive(stream, head.length))
        if context not in self._contexts or context in self.status:
            raise NbdMalformed(f"{self}: expected each of {sorted(self._contexts)} once, found context {context}")
        self.status[context] = extents

    def _check_whole(self) -> None:
        if self.error is not None:
            return
        if self._buffer is not None:
            came = total(self._covered)
            if came != self.request.length or total(normal(self._covered)) != came:
                raise NbdMalformed(f"{self}: expected {self.request.length} bytes once each, found {came}")
        elif self.request.command == Command.BLOCK_STATUS and self.status.keys() != self._contexts:
            raise NbdMalformed(
                f"{self}: expected the status in contexts {sorted(self._contexts)}, found {sorted(self.status)}"
            )

    def _expect_length(self, head: ChunkHead, least: int, most: int) -> None:
        if not least <= head.length <= most:
            raise NbdMalformed(f"{self}: expected {least} to {most} bytes in a chunk, found {head.length}")

    def __str__(self) -> str:
        name = Command(self.request.command).name.lower().replace("_", " ")
        return f"{self._connection}: {name} of {self.request.length} bytes at {self.request.offset}"
