"""A server over disks in memory, and a client that says exactly what a test wants to have said."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from media.extents import Extent
from media.faults import ExtentLost, RecordCorrupt, RepositoryUnreachable
from tests.media.fakes import FakeClock, SparseDisk
from vsa.nbd.exports import Export
from vsa.nbd.listening import UnixAddress, listen
from vsa.nbd.numbers import HandshakeFlag, Option, OptionReply
from vsa.nbd.server import Server
from vsa.nbd.wire import (
    CHUNK_HEAD,
    CLIENT_FLAGS,
    GREETING,
    OPTION_REPLY_HEAD,
    SIMPLE_REPLY,
    ChunkHead,
    Request,
    decode_greeting,
    decode_option_reply_head,
    encode_info_request,
    encode_meta_request,
    encode_option,
    encode_request,
)


class MemoryDisk:
    """Bytes in memory. What is not in `here` takes waiting; what is in `lost` is damaged, in `away` unreachable."""

    def __init__(self, data: bytes) -> None:
        self._sparse = SparseDisk.of(data)
        self.size = len(data)
        self.is_here = True
        self.lost: list[Extent] = []
        self.is_away = False
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.given_bytes = 0

    def cached(self, offset: int, length: int) -> list[memoryview] | None:
        if not self.is_here:
            return None
        self.given_bytes += length
        middle = length // 2
        return [
            memoryview(self._sparse.bytes(offset, middle)),
            memoryview(self._sparse.bytes(offset + middle, length - middle)),
        ]

    def pieces(self, offset: int, length: int) -> list[memoryview]:
        assert self.goes_on.wait(20)
        if self.is_away:
            raise RepositoryUnreachable("a fake that is away")
        for lost in self.lost:
            first, last = max(lost.offset, offset), min(lost.end, offset + length)
            if first < last:
                raise ExtentLost(0, Extent(first, last - first), RecordCorrupt("c-1.2 at 3: a fake that is damaged"))
        return [memoryview(self._sparse.bytes(offset, length))]

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._sparse.data_extents(offset, length)


class Client:
    """One connection."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def is_closed(self) -> bool:
        """Whether the server closes it, having said nothing more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def greet(self, flags: int = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES) -> None:
        assert decode_greeting(self.take(GREETING.size)) == 3
        self.socket.sendall(CLIENT_FLAGS.pack(flags))

    def ask(self, option: int, payload: bytes = b"") -> list[tuple[int, bytes]]:
        """An option, and every answer to it."""
        self.socket.sendall(encode_option(option, payload))
        answers = []
        while not answers or answers[-1][0] in (OptionReply.SERVER, OptionReply.INFO, OptionReply.META_CONTEXT):
            asked, reply, length = decode_option_reply_head(self.take(OPTION_REPLY_HEAD.size))
            assert asked == option
            answers.append((reply, self.take(length)))
        return answers

    def go(self, *, structured: bool = True, allocation: bool = True, export: str = "0") -> Client:
        self.greet()
        if structured:
            assert self.ask(Option.STRUCTURED_REPLY)[0][0] == OptionReply.ACK
            if allocation:
                contexts = encode_meta_request(export, ["base:allocation"])
                assert self.ask(Option.SET_META_CONTEXT, contexts)[0][0] == OptionReply.META_CONTEXT
        assert self.ask(Option.GO, encode_info_request(export))[-1][0] == OptionReply.ACK
        return self

    def say(self, *requests: Request) -> None:
        self.socket.sendall(b"".join(map(encode_request, requests)))

    def chunk(self) -> tuple[ChunkHead, bytes]:
        """One chunk of a structured reply."""
        _, *members = CHUNK_HEAD.unpack(self.take(CHUNK_HEAD.size))
        head = ChunkHead(*members)
        return head, self.take(head.length)

    def simple(self) -> tuple[int, int]:
        """Error and cookie of a simple reply."""
        _, error, cookie = SIMPLE_REPLY.unpack(self.take(SIMPLE_REPLY.size))
        return error, cookie


class Serving:
    """A server in a thread."""

    def __init__(self, path: Path, faults: list[Exception], clock: FakeClock) -> None:
        self.path = path
        self.faults = faults
        self.clock = clock

    def client(self) -> Client:
        return Client(self.path)


@contextmanager
def serving(directory: Path, *disks: MemoryDisk) -> Iterator[Serving]:
    """Serve disks as exports 0, 1, ..."""
    faults: list[Exception] = []
    clock = FakeClock()
    listener, address = listen(UnixAddress(directory / "nbd.sock"))
    assert isinstance(address, UnixAddress)
    exports = [Export(str(number), f"disk {number}", disk) for number, disk in enumerate(disks)]
    with Server(exports, [listener], clock, lambda _, fault: faults.append(fault)) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield Serving(address.path, faults, clock)
        finally:
            for disk in disks:
                disk.goes_on.set()
            server.stop()
            thread.join()
