"""Our NBD client: fixed newstyle, structured replies, block status, TLS; any number of commands in flight.

No thread of its own: of the threads that wait for a reply one receives, for all of them, and hands over when its own
is there. A connection that failed once, in whatever way, is broken for good, and every call on it says how it broke.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType

from media.extents import Extent
from runtime.clock import Clock
from runtime.faults import Fault
from vsa.faults import NbdFailed, NbdLost, NbdMalformed
from vsa.nbd import wire
from vsa.nbd.handshake import Export, Handshake
from vsa.nbd.numbers import BASE_ALLOCATION, STRUCTURED_REPLY_MAGIC, Command, Error, ExportFlag
from vsa.nbd.replies import Call
from vsa.nbd.stream import PlainStream, Stream, TlsStream, client_context, dial, receive
from vsa.nbd.url import NbdUrl
from vsa.nbd.wire import Request

TIMEOUT_SECONDS = 60.0
REQUEST_MAX_BYTES = 1 << 20  # half the CPU of both ends that 256 KiB take; larger gains nothing
IN_FLIGHT = 8  # of one call of ours
STATUS_MAX_BYTES = 1 << 30  # asked for at once


def connect(
    url: NbdUrl, clock: Clock, contexts: Iterable[str] = (BASE_ALLOCATION,), timeout_seconds: float = TIMEOUT_SECONDS
) -> NbdClient:
    """Open an export. Raises NbdFault."""
    return open_export(dial(url, timeout_seconds, clock), url, contexts)


def open_export(plain: PlainStream, url: NbdUrl, contexts: Iterable[str] = (BASE_ALLOCATION,)) -> NbdClient:
    """The same over a connection that exists; takes it over."""
    try:
        shake = Handshake(plain, str(url))
        if url.tls:
            shake.start_tls(lambda: TlsStream(plain, client_context(url), url.tls_hostname))
        return NbdClient(*shake.go(url.export, contexts), str(url))
    except BaseException:
        plain.close()
        raise


def list_exports(url: NbdUrl, clock: Clock, timeout_seconds: float = TIMEOUT_SECONDS) -> list[tuple[str, str]]:
    """Names and descriptions of the exports of a server. Raises NbdFault."""
    plain = dial(url, timeout_seconds, clock)
    try:
        shake = Handshake(plain, str(url))
        if url.tls:
            shake.start_tls(lambda: TlsStream(plain, client_context(url), url.tls_hostname))
        return shake.exports()
    finally:
        plain.close()


class NbdClient:
    """One connection to one export. Safe to use from several threads at once; closing while one does is a mistake."""

    def __init__(self, stream: Stream, export: Export, name: str) -> None:
        self.export = export
        self._stream = stream
        self._name = name
        self._sending = threading.Lock()
        self._state = threading.Condition()  # guards what follows
        self._calls: dict[int, Call] = {}
        self._cookies = 0
        self._receiving = False
        self._failure: BaseException | None = None
        self._edges = threading.Lock()  # held while a block that is written in part is read and written back
        least, _, most = export.block_sizes
        self._step = max(least, min(most, REQUEST_MAX_BYTES) // least * least)
        self._contexts = frozenset(export.contexts.values())

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes at `offset`, anywhere inside of the export. Raises NbdFailed, NbdFault."""
        least = self.export.block_sizes.minimum
        first, last = offset - offset % least, -(-(offset + len(buffer)) // least) * least
        if (first, last) == (offset, offset + len(buffer)):
            self._read(offset, buffer)
        elif len(buffer):
            whole = memoryview(bytearray(last - first))
            self._read(first, whole)
            buffer[:] = whole[offset - first : offset - first + len(buffer)]

    def _read(self, offset: int, buffer: memoryview) -> None:
        self._all(
            self._begin(Command.READ, offset + at, len(piece), buffer=piece)
            for at, piece in _pieces(buffer, self._step)
        )

    def write(self, offset: int, data: memoryview) -> None:
        """Write `data` at `offset`. It is durable after `flush`. Raises NbdFailed, NbdFault."""
        least = self.export.block_sizes.minimum
        first, last = offset - offset % least, -(-(offset + len(data)) // least) * least
        if (first, last) == (offset, offset + len(data)):
            self._write(offset, data)
            return
        with self._edges:
            whole = memoryview(bytearray(last - first))
            self._read(first, whole)
            whole[offset - first : offset - first + len(data)] = data
            self._write(first, whole)

    def _write(self, offset: int, data: memoryview) -> None:
        self._all(
            self._begin(Command.WRITE, offset + at, len(piece), payload=piece)
            for at, piece in _pieces(data, self._step)
        )

    def write_zeros(self, offset: int, length: int) -> None:
        """Make [offset, offset + length) read as zero, by a hole where the server can. Raises NbdFailed, NbdFault."""
        least = self.export.block_sizes.minimum
        first, last = -(-offset // least) * least, (offset + length) // least * least
        if not self.export.flags & ExportFlag.SEND_WRITE_ZEROES or first >= last:
            for position in range(offset, offset + length, self._step):
                self.write(position, memoryview(bytes(min(self._step, offset + length - position))))
            return
        if first > offset:
            self.write(offset, memoryview(bytes(first - offset)))
        if last < offset + length:
            self.write(last, memoryview(bytes(offset + length - last)))
        step = STATUS_MAX_BYTES
        self._all(self._begin(Command.WRITE_ZEROES, at, min(step, last - at)) for at in range(first, last, step))

    def flush(self) -> None:
        """What was written before is durable on return, as far as the server can tell. Raises NbdFailed, NbdFault."""
        if self.export.flags & ExportFlag.SEND_FLUSH:
            self._finish(self._begin(Command.FLUSH, 0, 0))

    def status(self, context: str, offset: int, length: int) -> Iterator[tuple[Extent, int]]:
        """The extents of [offset, offset + length) and their flags in a context that was agreed on, in order.

        Raises NbdFailed, NbdFault.
        """
        number, least = self.export.contexts[context], self.export.block_sizes.minimum
        end = min(offset + length, self.export.size)
        position = offset - offset % least
        while position < end:
            asked = min(STATUS_MAX_BYTES, -(-end // least) * least - position)
            call = self._begin(Command.BLOCK_STATUS, position, asked)
            self._finish(call)
            before = position
            for piece, flags in call.status[number]:
                first, last = max(position, offset), min(position + piece, end, before + asked)
                if first < last:
                    yield Extent(first, last - first), flags
                position += piece
            position = min(position, before + asked)

    def close(self) -> None:
        """Say good-bye and disconnect. May be called twice."""
        with self._state:
            failed, self._failure = self._failure is not None, self._failure or NbdLost(f"{self._name}: closed")
        if not failed:
            with suppress(Fault):  # there is nobody to say it to
                self._stream.send(wire.encode_request(Request(0, Command.DISC, 0, 0, 0)))
        self._stream.close()

    def __enter__(self) -> NbdClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _all(self, calls: Iterator[Call]) -> None:
        """Send and finish every call, several at a time. After the first failure no more are sent.

        Does not return before all that were sent are done: their buffers are the caller's.
        """
        flying: deque[Call] = deque()
        failure: Fault | None = None
        while True:
            try:
                while failure is None and len(flying) < IN_FLIGHT and (call := next(calls, None)) is not None:
                    flying.append(call)
            except Fault as fault:
                failure = fault
            if not flying:
                break
            try:
                self._finish(flying.popleft())
            except Fault as fault:
                failure = failure or fault
        if failure is not None:
            raise failure

    def _begin(
        self,
        command: Command,
        offset: int,
        length: int,
        buffer: memoryview | None = None,
        payload: memoryview | None = None,
    ) -> Call:
        """Send a command. `buffer` is where a read goes, `payload` what a write writes."""
        with self._state:
            if self._failure is not None:
                raise self._broken(self._failure)
            self._cookies += 1
            request = Request(0, command, self._cookies, offset, length)
            call = self._calls[request.cookie] = Call(self._name, request, buffer, self._contexts)
        try:
            with self._sending:
                self._stream.send(wire.encode_request(request), payload or b"")
        except BaseException as failure:
            self._break(failure)
            raise
        return call

    def _finish(self, call: Call) -> None:
        """Wait until `call` is done. Raises NbdFailed for its error, or what broke the connection."""
        with self._state:
            call.awaited = True
            while not call.done and self._failure is None and self._receiving:
                self._state.wait()
            receive_now = not call.done and self._failure is None
            self._receiving = self._receiving or receive_now
        if receive_now:
            try:
                while not call.done:
                    self._receive()
            except BaseException as failure:
                self._break(failure)
                raise
            finally:
                with self._state:
                    self._receiving = False
                    self._state.notify_all()
        if not call.done:
            assert self._failure is not None
            raise self._broken(self._failure)
        if call.error is not None:
            error, message, where = call.error
            name = Error(error).name if error in Error.__members__.values() else f"error {error}"
            at = "" if where is None else f" at {where}"
            raise NbdFailed(f"{call}: {name}{at}{f' ({message!r})' if message else ''}")

    def _receive(self) -> None:
        """Take what comes next, for whichever call it is."""
        head = receive(self._stream, wire.SIMPLE_REPLY.size)
        magic = wire.REPLY_MAGIC.unpack_from(head)[0]
        if magic == STRUCTURED_REPLY_MAGIC and self.export.structured:
            chunk = wire.decode_chunk_head(head + receive(self._stream, wire.CHUNK_HEAD.size - len(head)))
            call = self._call(chunk.cookie)
            call.take_chunk(chunk, self._stream)
        else:
            error, cookie = wire.decode_simple_reply(head)
            call = self._call(cookie)
            call.take_simple(error, self._stream, structured=self.export.structured)
        if call.done:
            with self._state:
                del self._calls[call.request.cookie]
                if call.awaited:  # whoever sleeps is woken for its own call alone, and to receive
                    self._state.notify_all()

    def _call(self, cookie: int) -> Call:
        with self._state:
            call = self._calls.get(cookie)
        if call is None:
            raise NbdMalformed(f"{self._name}: expected a reply to a command, found one to {cookie:#x}")
        return call

    def _break(self, failure: BaseException) -> None:
        with self._state:
            self._failure = self._failure or failure
            self._state.notify_all()

    def _broken(self, failure: BaseException) -> Fault:
        """What a call on a broken connection raises: the fault that broke it, or that somebody was interrupted."""
        kind = type(failure) if isinstance(failure, Fault) else NbdLost
        fault = kind(str(failure) or f"{self._name}: interrupted in the middle of a message")
        fault.__cause__ = failure
        return fault


def _pieces(buffer: memoryview, step: int) -> Iterator[tuple[int, memoryview]]:
    for at in range(0, len(buffer), step):
        yield at, buffer[at : at + step]
