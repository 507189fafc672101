"""The client against servers that a test scripts: good ones, slow ones, wrong ones."""

from __future__ import annotations

import random
import re
import socket
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from media.extents import Extent
from runtime.clock import SystemClock
from runtime.faults import Fault
from tests.vsa.nbd.scripted import (
    FLAGS,
    URL,
    agreement,
    chunk,
    client_of,
    client_of_serving,
    data,
    last,
    next_request,
    saying,
)
from vsa.faults import NbdFailed, NbdFault, NbdLost, NbdMalformed, NbdRefused, NbdTlsFailed, NbdUnreachable
from vsa.nbd import wire
from vsa.nbd.client import NbdClient, connect, open_export
from vsa.nbd.handshake import Handshake
from vsa.nbd.numbers import Chunk, Command, Error, ExportFlag, Option, OptionReply
from vsa.nbd.stream import PlainStream
from vsa.nbd.url import parse_nbd_url
from vsa.nbd.wire import BlockSizes, ErrorChunk, ExportInfo, StatusExtent


def read(client: NbdClient, offset: int, length: int) -> bytes:
    buffer = bytearray(b"\xa5" * length)
    client.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def status(cookie: int, *extents: tuple[int, int], context: int = 7) -> bytes:
    payload = wire.encode_block_status(context, [StatusExtent(*extent) for extent in extents])
    return last(cookie, Chunk.BLOCK_STATUS, payload)


def test_a_structured_reply_comes_in_any_order_of_chunks_with_holes() -> None:
    replies = (
        chunk(1, Chunk.OFFSET_DATA, data(104, b"cdef")),
        chunk(1, Chunk.OFFSET_HOLE, wire.encode_hole(102, 2)),
        last(1, Chunk.OFFSET_DATA, data(100, b"ab")),
    )
    with client_of(*replies) as client:
        assert read(client, 100, 8) == b"ab\0\0cdef"


def test_a_server_without_structured_replies_is_read_all_the_same() -> None:
    with client_of(wire.encode_simple_reply(0, 1) + b"plain", structured=False) as client:
        assert not client.export.contexts
        assert read(client, 0, 5) == b"plain"


def test_status_goes_on_where_the_server_stopped_and_ends_where_it_was_asked_to() -> None:
    with client_of(status(1, (512, 3), (512, 0)), status(2, (1 << 20, 1))) as client:
        found = list(client.status("base:allocation", 0, 4096))
    assert found == [(Extent(0, 512), 3), (Extent(512, 512), 0), (Extent(1024, 3072), 1)]


def test_an_error_names_the_command_the_reason_and_the_place_and_the_connection_goes_on() -> None:
    why = wire.encode_error(ErrorChunk(Error.EIO, "bad sector", 105))
    replies = (chunk(1, Chunk.OFFSET_DATA, data(100, b"ab")), last(1, Chunk.ERROR_OFFSET, why))
    with client_of(*replies, last(2, Chunk.OFFSET_DATA, data(0, b"x"))) as client:
        with pytest.raises(NbdFailed, match=r"disk: read of 8 bytes at 100: EIO at 105 \('bad sector'\)"):
            read(client, 100, 8)
        assert read(client, 0, 1) == b"x"


WRONG_REPLIES: dict[str, tuple[bytes, str]] = {
    "cookie": (last(99), "expected a reply to a command, found one to 0x63"),
    "magic": (bytes(16), "expected magic"),
    "nothing read": (last(1), "expected 8 bytes once each, found 0"),
    "too little": (last(1, Chunk.OFFSET_DATA, data(100, b"abc")), "expected 8 bytes once each, found 3"),
    "before": (last(1, Chunk.OFFSET_DATA, data(99, b"abc")), "3 bytes at 99, which were not asked for"),
    "after": (last(1, Chunk.OFFSET_DATA, data(106, b"abc")), "3 bytes at 106, which were not asked for"),
    "far": (last(1, Chunk.OFFSET_DATA, data((1 << 64) - 1, b"abc")), "which were not asked for"),
    "long": (wire.encode_chunk_head(wire.ChunkHead(1, 1, 1, 0xFFFFFFFF)), "expected 1 to 8 bytes, found 4294967287"),
    "empty": (last(1, Chunk.OFFSET_DATA, data(100, b"")), "expected 1 to 8 bytes, found 0"),
    "huge hole": (last(1, Chunk.OFFSET_HOLE, wire.encode_hole(100, 0xFFFFFFFF)), "which were not asked for"),
    "long hole": (last(1, Chunk.OFFSET_HOLE, bytes(13)), "expected 12 to 12 bytes in a chunk, found 13"),
    "twice": (
        chunk(1, Chunk.OFFSET_DATA, data(100, b"abcd")) + last(1, Chunk.OFFSET_DATA, data(102, b"abcd")),
        "expected 8 bytes once each",
    ),
    "ends not": (chunk(1, Chunk.NONE), "expected an empty chunk to be the last"),
    "many errors": (chunk(1, Chunk.ERROR, b"\0\0\0\5\0\0") * 17, "expected chunks of 512 bytes or more"),
    "status": (status(1, (512, 0)), "which was not asked for"),
    "long error": (wire.encode_chunk_head(wire.ChunkHead(1, 0x8001, 1, 1 << 30)), "expected 6 to 4110 bytes"),
    "kind": (last(1, 77), "found kind 77"),
    "simple": (wire.encode_simple_reply(0, 1) + b"abcdefgh", "expected a structured reply"),
}


@pytest.mark.parametrize("name", WRONG_REPLIES)
def test_a_wrong_reply_is_malformed_and_breaks_the_connection(name: str) -> None:
    reply, message = WRONG_REPLIES[name]
    with client_of(reply) as client:
        with pytest.raises(NbdMalformed) as raised:
            read(client, 100, 8)
        assert message in str(raised.value)
        with pytest.raises(NbdMalformed, match=re.escape(str(raised.value))):
            client.flush()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (last(1), "expected the status in contexts [7], found []"),
        (status(1, (512, 0), context=8), "expected each of [7] once, found context 8"),
        (chunk(1, 5, bytes.fromhex("00000007 00000200 00000000")) * 2, "found context 7"),
        (wire.encode_chunk_head(wire.ChunkHead(1, 5, 1, 1 << 30)), "a block status of 1073741824 bytes"),
        (wire.encode_simple_reply(0, 1), "expected a structured reply"),
    ],
)
def test_a_wrong_status_is_malformed(reply: bytes, message: str) -> None:
    with client_of(reply) as client, pytest.raises(NbdMalformed) as raised:
        list(client.status("base:allocation", 0, 4096))
    assert message in str(raised.value)


def test_a_connection_that_ends_or_goes_silent_is_lost() -> None:
    half = chunk(1, Chunk.OFFSET_DATA, data(0, b"abcdefgh"))[:-4]
    with client_of(half) as client, pytest.raises(NbdLost, match="expected 4 more bytes, found the end"):
        read(client, 0, 8)
    with client_of(half, hangs=True) as client, pytest.raises(NbdLost, match=r"nothing came for 0\.05 seconds"):
        read(client, 0, 8)
    with saying(b"NBDMAG", hangs=True, timeout_seconds=0.05) as plain, pytest.raises(NbdLost, match="nothing came"):
        open_export(plain, URL)


def test_a_server_that_takes_nothing_is_lost() -> None:
    with client_of(hangs=True) as client, pytest.raises(NbdLost, match="nothing was taken"):
        client.write(0, memoryview(bytes(1 << 20)))


def info(**changes: int) -> bytes:
    found = {"size": 1 << 20, "flags": FLAGS} | changes
    return wire.encode_option_reply(Option.GO, OptionReply.INFO, wire.encode_info_export(ExportInfo(**found)))


def refusal(reply: int, message: bytes = b"") -> bytes:
    return wire.encode_option_reply(Option.GO, reply, message)


GO = agreement()[:-2]
ACK = agreement()[-1]


@pytest.mark.parametrize(
    ("said", "fault", "message"),
    [
        ([b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\0\0"], NbdMalformed, "newstyle"),
        ([wire.encode_greeting(2)], NbdRefused, "fixed newstyle, found handshake flags 0x2"),
        ([*GO, refusal(OptionReply.ERR_UNKNOWN)], NbdRefused, "no such export"),
        ([*GO, refusal(OptionReply.ERR_TLS_REQD, b"no\x1b[2J")], NbdRefused, r"demands TLS.*\('no\\x1b\[2J'\)"),
        ([*GO, refusal(0x8000FFFF)], NbdRefused, "error 0x8000ffff"),
        ([*GO, ACK], NbdMalformed, "expected size and flags"),
        ([*GO, info(size=1 << 63), ACK], NbdMalformed, "found 9223372036854775808"),
        ([*GO, info(flags=0), ACK], NbdMalformed, "expected flags"),
        ([*GO, wire.encode_option_reply(Option.LIST, OptionReply.ACK)], NbdMalformed, "found one to 3"),
        ([*GO, wire.OPTION_REPLY_HEAD.pack(0x3E889045565A9, 7, 3, 1 << 31)], NbdMalformed, "8200 bytes at most"),
        ([*GO, info() * 65], NbdMalformed, "expected 64 replies to option 7 at most"),
    ],
)
def test_a_wrong_agreement_is_a_named_fault(said: list[bytes], fault: type[Fault], message: str) -> None:
    with saying(b"".join(said)) as plain, pytest.raises(fault, match=message):
        open_export(plain, URL)


def test_block_sizes_that_do_not_fit_the_size_are_refused() -> None:
    said = agreement(size=1000, sizes=BlockSizes(512, 512, 512))
    with saying(b"".join(said)) as plain, pytest.raises(NbdMalformed, match="whole blocks of 512 bytes, found 1000"):
        open_export(plain, URL)


def test_tls_that_is_asked_for_and_not_there_is_a_fault_and_never_plain() -> None:
    said = wire.encode_greeting(3) + wire.encode_option_reply(Option.STARTTLS, OptionReply.ERR_UNSUP)
    url = parse_nbd_url("nbds://scripted/disk")
    with saying(said + b"".join(agreement()[1:])) as plain, pytest.raises(NbdTlsFailed, match="found a server without"):
        open_export(plain, url)
    acked = wire.encode_greeting(3) + wire.encode_option_reply(Option.STARTTLS, OptionReply.ACK)
    with saying(acked + b"".join(agreement()[1:])) as plain, pytest.raises(NbdTlsFailed, match=r"scripted: [A-Z_]+"):
        open_export(plain, url)


def test_a_list_without_end_is_refused() -> None:
    one = wire.encode_option_reply(Option.LIST, OptionReply.SERVER, wire.encode_server(""))
    served = threading.Event()

    def serve(theirs: socket.socket) -> None:
        with theirs:
            theirs.sendall(wire.encode_greeting(3) + one * 10_001)
            served.wait()

    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    plain = PlainStream(ours, "scripted", 30, SystemClock())
    with pytest.raises(NbdMalformed, match="expected 10000 replies to option 3 at most"):
        Handshake(plain, "scripted").exports()
    served.set()
    plain.close()
    thread.join()


def test_nobody_there_is_unreachable(tmp_path: object) -> None:
    with pytest.raises(NbdUnreachable, match="No such file"):
        connect(parse_nbd_url(f"nbd+unix:///x?socket={tmp_path}/none"), SystemClock())
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(NbdUnreachable, match="refused"):
            connect(parse_nbd_url(f"nbd://127.0.0.1:{bound.getsockname()[1]}/x"), SystemClock())


def backwards(count: int) -> Callable[[socket.socket], None]:
    """A server that waits for `count` reads, and answers the last one first. A byte is the number of its sector."""

    def serve(server: socket.socket) -> None:
        waiting: list[wire.Request] = []
        while (request := next_request(server)) is not None and request.command == Command.READ:
            waiting.append(request)
            if len(waiting) == count:
                for one in reversed(waiting):
                    body = bytes([one.offset // 512 % 256]) * one.length
                    server.sendall(last(one.cookie, Chunk.OFFSET_DATA, data(one.offset, body)))
                waiting.clear()

    return serve


def test_threads_share_a_connection_and_each_gets_its_own_bytes() -> None:
    wrong: list[int] = []
    with client_of_serving(backwards(8)) as client:

        def run(number: int) -> None:
            for turn in range(20):
                sector = (number * 31 + turn) % 2048
                if read(client, sector * 512, 512) != bytes([sector % 256]) * 512:
                    wrong.append(sector)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_large_read_has_several_requests_in_flight() -> None:
    sizes = BlockSizes(512, 4096, 8192)
    with client_of_serving(backwards(8), sizes=sizes) as client:
        found = read(client, 0, 8 * 8192)
    assert found == b"".join(bytes([number * 16]) * 8192 for number in range(8))


def test_a_cut_reaches_every_thread_that_waits() -> None:
    faults: list[NbdFault] = []

    def serve(server: socket.socket) -> None:
        for _ in range(4):
            next_request(server)
        server.shutdown(socket.SHUT_RDWR)

    with client_of_serving(serve) as client:

        def run() -> None:
            try:
                read(client, 0, 512)
            except NbdFault as fault:
                faults.append(fault)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [type(fault) for fault in faults] == [NbdLost] * 4


def memory_server(memory: bytearray, block: int) -> Callable[[socket.socket], None]:
    """A server that keeps what is written, and takes whole blocks only."""

    def serve(server: socket.socket) -> None:
        while (request := next_request(server)) is not None:
            first, end = request.offset, request.offset + request.length
            assert first % block == 0 == end % block
            match request.command:
                case Command.READ:
                    server.sendall(last(request.cookie, Chunk.OFFSET_DATA, data(first, bytes(memory[first:end]))))
                case Command.WRITE:
                    memory[first:end] = server.recv(request.length, socket.MSG_WAITALL)
                    server.sendall(wire.encode_simple_reply(0, request.cookie))
                case Command.WRITE_ZEROES:
                    memory[first:end] = bytes(request.length)
                    server.sendall(last(request.cookie))
                case Command.FLUSH:
                    server.sendall(last(request.cookie))
                case _:
                    return

    return serve


@pytest.mark.parametrize("block", [1, 512, 4096])
@pytest.mark.parametrize("flags", [FLAGS, ExportFlag.HAS_FLAGS])
def test_reads_and_writes_of_any_alignment_are_as_of_plain_memory(block: int, flags: int) -> None:
    size = 64 << 10
    memory, expected = bytearray(b"\xee" * size), bytearray(b"\xee" * size)
    chance = random.Random(block)
    sizes = BlockSizes(block, 4096, 8192)
    with client_of_serving(memory_server(memory, block), sizes=sizes, flags=flags, size=size) as client:
        for _ in range(100):
            offset = chance.randrange(size)
            length = chance.randrange(min(20_000, size - offset) + 1)
            match chance.randrange(3):
                case 0:
                    expected[offset : offset + length] = body = chance.randbytes(length)
                    client.write(offset, memoryview(body))
                case 1:
                    expected[offset : offset + length] = bytes(length)
                    client.write_zeros(offset, length)
                case _:
                    assert read(client, offset, length) == expected[offset : offset + length]
        client.flush()
    assert memory == expected


GOOD = b"".join(
    [
        *agreement(),
        chunk(1, Chunk.OFFSET_DATA, data(0, b"a" * 512)),
        chunk(1, Chunk.OFFSET_HOLE, wire.encode_hole(512, 1024)),
        last(1, Chunk.OFFSET_DATA, data(1536, b"b" * 512)),
        status(2, (65536, 0), (65536, 3)),
        status(3, (1 << 20, 0)),
        last(4, Chunk.ERROR, wire.encode_error(ErrorChunk(Error.EIO, "no", None))),
    ]
)


def drive(script: bytes) -> None:
    """Everything that a client does, with a server that says `script`."""
    with saying(script) as plain, open_export(plain, URL) as client:
        client.read_into(0, memoryview(bytearray(2048)))
        for context in client.export.contexts:
            list(client.status(context, 0, 1 << 20))
        client.flush()


def mutated(cuts: list[tuple[int, int, bytes]]) -> bytes:
    """GOOD with some of its bytes replaced by others."""
    script = bytearray(GOOD)
    for position, length, body in cuts:
        script[position : position + length] = body
    return bytes(script)


INTERESTING = st.sampled_from([b"\0", b"\xff", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8])
CUT = st.tuples(st.integers(0, len(GOOD)), st.integers(0, 8), st.binary(max_size=8) | INTERESTING)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(b"".join(agreement()).__add__)
    | st.lists(CUT, max_size=4).map(mutated)
)
@example(GOOD)
def test_whatever_a_server_says_is_data_or_a_named_fault_in_little_memory(script: bytes) -> None:
    tracemalloc.start()
    try:
        with suppress(NbdFault):
            drive(script)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 << 20


def test_the_good_script_is_good_up_to_its_error() -> None:
    with pytest.raises(NbdFailed, match=r"flush.*EIO"):
        drive(GOOD)
