"""The server's side after the handshake: requests in, replies out; no socket here.

Reads of what is in memory are answered at once, many requests in one call: `take` is the path that must be fast. What
takes waiting becomes a `Job`, which any thread may answer, in any order.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from media.extents import Extent
from media.faults import ExtentLost
from runtime.faults import Fault
from vsa.faults import NbdMalformed
from vsa.nbd.exports import READ_MAX_BYTES
from vsa.nbd.negotiation import ALLOCATION_ID, Agreed
from vsa.nbd.numbers import (
    REPLY_DONE,
    REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC,
    STRING_MAX_BYTES,
    STRUCTURED_REPLY_MAGIC,
    Allocation,
    Chunk,
    Command,
    CommandFlag,
    Error,
)
from vsa.nbd.wire import (
    REQUEST,
    SIMPLE_REPLY,
    ChunkHead,
    ErrorChunk,
    StatusExtent,
    encode_block_status,
    encode_chunk_head,
    encode_error,
    encode_simple_reply,
)

Pieces = list[bytes | memoryview]

_JOBS_MAX = 32  # of one connection, waiting for the repository
_JOBS_MAX_BYTES = 16 << 20
_REPLIES_MAX_BYTES = 4 << 20  # made before they are sent
_EXTENTS_MAX = 4096  # of one answer about block status; who asked for more asks again
_DATA_HEAD = struct.Struct(">IHHQIQ")  # the head of a data chunk, and the offset that its payload begins with
_READ, _DF, _DATA = int(Command.READ), int(CommandFlag.DF), int(Chunk.OFFSET_DATA)  # enums are slow to compare with


class Job(NamedTuple):
    """A request whose answer takes waiting."""

    command: int
    flags: int
    cookie: int
    offset: int
    length: int

    @property
    def held_bytes(self) -> int:
        return self.length if self.command == Command.READ else 0


class Answered(NamedTuple):
    """A job's reply, and what went wrong if something did."""

    reply: Pieces
    fault: Exception | None


class Transmission:
    """One client's requests. `take` and `done` belong to one thread, `answer` to any."""

    def __init__(self, agreed: Agreed) -> None:
        self.export = agreed.export
        self.ended = False
        self._structured = agreed.structured
        self._allocation = agreed.allocation
        self._disk = agreed.export.disk
        self._size = agreed.export.disk.size
        self._skip = 0  # bytes of a write that is refused
        self._jobs = 0
        self._job_bytes = 0

    @property
    def is_busy(self) -> bool:
        """Whether so much is being waited for that no more is taken."""
        return self._jobs >= _JOBS_MAX or self._job_bytes >= _JOBS_MAX_BYTES

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being waited for."""
        return self._jobs == 0

    def take(self, data: memoryview, replies: Pieces, jobs: list[Job]) -> int:
        """Answer requests at the start of `data`: into `replies`, or as `jobs`. How many bytes were taken.

        Stops at a request that is not complete, and when enough is done or waited for. Raises NbdMalformed when the
        client speaks another language.
        """
        position = min(self._skip, len(data))
        self._skip -= position
        end = len(data) - REQUEST.size
        made = 0
        unpack, data_head = REQUEST.unpack_from, _DATA_HEAD.pack
        cached, size, structured = self._disk.cached, self._size, self._structured
        while position <= end and made < _REPLIES_MAX_BYTES and not self._skip and not self.ended:
            magic, flags, command, cookie, offset, length = unpack(data, position)
            if (
                command == _READ
                and magic == REQUEST_MAGIC
                and flags in (0, _DF)
                and 0 < length <= READ_MAX_BYTES
                and offset + length <= size
                and (pieces := cached(offset, length)) is not None
            ):
                if structured:
                    head = data_head(STRUCTURED_REPLY_MAGIC, REPLY_DONE, _DATA, cookie, length + 8, offset)
                else:
                    head = SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, cookie)
                replies.append(head)
                replies += pieces
                made += length
                position += REQUEST.size
                continue
            if magic != REQUEST_MAGIC:
                raise NbdMalformed(f"request: expected magic {REQUEST_MAGIC:#x}, found {magic:#x}")
            if self.is_busy:
                break
            position += REQUEST.size
            payload = self._other(Job(command, flags, cookie, offset, length), replies, jobs)
            skipped = min(payload, len(data) - position)
            position += skipped
            self._skip = payload - skipped
        return position

    def _other(self, request: Job, replies: Pieces, jobs: list[Job]) -> int:
        """What is not a read of bytes that are here. How many bytes follow the request, to be thrown away."""
        command, length = request.command, request.length
        if command == Command.DISC:
            self.ended = True
        elif command in (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES):
            if command == Command.WRITE and length > READ_MAX_BYTES:
                raise NbdMalformed(f"write: expected {READ_MAX_BYTES} bytes at most, found {length}")
            replies += self._error(request, Error.EPERM, "a recovery point is read-only")
            return length if command == Command.WRITE else 0
        elif (problem := self._problem(request)) is not None:
            replies += self._error(request, *problem)
        else:
            self._jobs += 1
            self._job_bytes += request.held_bytes
            jobs.append(request)
        return 0

    def _problem(self, request: Job) -> tuple[Error, str] | None:
        """What is wrong with what is asked."""
        allowed = {Command.READ: CommandFlag.DF, Command.BLOCK_STATUS: CommandFlag.REQ_ONE}.get(request.command)  # type: ignore[call-overload] # any number may come
        if allowed is None:
            return Error.EINVAL, f"command {request.command} is not offered"
        if request.flags & ~allowed:
            return Error.EINVAL, f"flags {request.flags:#x} are not offered"
        if request.command == Command.BLOCK_STATUS and not self._allocation:
            return Error.EINVAL, "no context was agreed on"
        if request.command == Command.READ and request.length > READ_MAX_BYTES:
            return Error.EOVERFLOW, f"expected {READ_MAX_BYTES} bytes at most, found {request.length}"
        if request.length == 0 or request.offset + request.length > self._size:
            return Error.EINVAL, f"{request.length} bytes at {request.offset} of {self._size}"
        return None

    def answer(self, job: Job) -> Answered:
        """Do a job, however long it takes. Failures become replies."""
        try:
            if job.command == Command.BLOCK_STATUS:
                return Answered(self._status(job), None)
            return Answered([*self._data_head(job), *self._disk.pieces(job.offset, job.length)], None)
        except ExtentLost as fault:
            return Answered(self._error(job, Error.EIO, str(fault), fault.extent.offset), fault)
        except Fault as fault:
            return Answered(self._error(job, Error.EIO, str(fault)), fault)
        except Exception as error:  # noqa: BLE001 # a client must not wait for ever for what failed in a thread
            return Answered(self._error(job, Error.EIO, "unexpected"), error)

    def done(self, job: Job) -> None:
        """The reply to a job is on its way."""
        self._jobs -= 1
        self._job_bytes -= job.held_bytes

    def _data_head(self, job: Job) -> Pieces:
        if self._structured:
            length = job.length + 8
            return [_DATA_HEAD.pack(STRUCTURED_REPLY_MAGIC, REPLY_DONE, _DATA, job.cookie, length, job.offset)]
        return [encode_simple_reply(0, job.cookie)]

    def _status(self, job: Job) -> Pieces:
        limit = 1 if job.flags & CommandFlag.REQ_ONE else _EXTENTS_MAX
        extents: list[StatusExtent] = []
        position, end = job.offset, job.offset + job.length
        for data in self._disk.data_extents(job.offset, job.length):
            if data.offset > position:
                extents.append(_hole(Extent(position, data.offset - position)))
            extents.append(StatusExtent(data.length, 0))
            position = data.end
            if len(extents) >= limit:
                break
        else:
            if position < end:
                extents.append(_hole(Extent(position, end - position)))
        payload = encode_block_status(ALLOCATION_ID, extents[:limit])
        return [encode_chunk_head(ChunkHead(REPLY_DONE, Chunk.BLOCK_STATUS, job.cookie, len(payload))), payload]

    def _error(self, job: Job, error: Error, message: str, offset: int | None = None) -> Pieces:
        if not self._structured:
            return [encode_simple_reply(error, job.cookie)]
        text = message.encode()[: STRING_MAX_BYTES - 4].decode(errors="ignore")
        kind = Chunk.ERROR if offset is None else Chunk.ERROR_OFFSET
        payload = encode_error(ErrorChunk(error, text, offset))
        return [encode_chunk_head(ChunkHead(REPLY_DONE, kind, job.cookie, len(payload))), payload]


def _hole(extent: Extent) -> StatusExtent:
    return StatusExtent(extent.length, Allocation.HOLE | Allocation.ZERO)
