"""The server: what it agrees to, what it answers, whom it lets wait."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from media.extents import Extent, normal
from media.faults import ExtentLost, RepositoryUnreachable
from tests.media.random_disks import random_image
from tests.media.workbench import noise
from tests.vsa.nbd.served import Client, MemoryDisk, serving
from vsa.nbd.numbers import Chunk, Command, CommandFlag, Error, ExportFlag, HandshakeFlag, Info, Option, OptionReply
from vsa.nbd.wire import (
    EXPORT_NAME_REPLY,
    Request,
    decode_block_status,
    decode_error,
    decode_info,
    decode_server,
    encode_info_request,
    encode_meta_request,
)

READ_ONLY = ExportFlag.HAS_FLAGS | ExportFlag.READ_ONLY | ExportFlag.CAN_MULTI_CONN
SMALL = noise(1, 10_000)


def read(cookie: int, offset: int, length: int, flags: int = 0) -> Request:
    return Request(flags, Command.READ, cookie, offset, length)


# Handshake


def test_exports_are_listed_with_what_people_call_them(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(SMALL), MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet()
        *servers, last = client.ask(Option.LIST)
        assert [decode_server(payload) for _, payload in servers] == [("0", "disk 0"), ("1", "disk 1")]
        assert last == (OptionReply.ACK, b"")


def test_information_is_given_without_going_and_with(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet()
        asked = encode_info_request("0", [Info.BLOCK_SIZE, Info.NAME, Info.DESCRIPTION, 77])
        for option in (Option.INFO, Option.GO):
            replies = client.ask(option, asked)
            assert [reply for reply, _ in replies] == [OptionReply.INFO] * 4 + [OptionReply.ACK]
            assert decode_info(replies[0][1]) == (len(SMALL), READ_ONLY)
            assert decode_info(replies[1][1]) == (1, 4096, 32 << 20)
            assert [payload[2:] for _, payload in replies[2:4]] == [b"0", b"disk 0"]


def test_the_empty_name_means_the_only_export(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with serving(tmp_path / "one", MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet()
        assert client.ask(Option.GO, encode_info_request(""))[-1][0] == OptionReply.ACK
    with serving(tmp_path / "two", MemoryDisk(SMALL), MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet()
        assert client.ask(Option.GO, encode_info_request(""))[-1][0] == OptionReply.ERR_UNKNOWN


def test_what_cannot_be_had_is_refused_and_the_client_may_ask_for_something_else(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet()
        assert client.ask(Option.STARTTLS)[0][0] == OptionReply.ERR_UNSUP
        assert client.ask(Option.EXTENDED_HEADERS)[0][0] == OptionReply.ERR_UNSUP
        assert client.ask(4711, b"what")[0][0] == OptionReply.ERR_UNSUP
        assert client.ask(Option.LIST, b"what")[0][0] == OptionReply.ERR_INVALID
        assert client.ask(Option.GO, b"what")[0][0] == OptionReply.ERR_INVALID
        assert client.ask(Option.GO, encode_info_request("7"))[0][0] == OptionReply.ERR_UNKNOWN
        contexts = encode_meta_request("0", ["base:allocation"])
        assert client.ask(Option.SET_META_CONTEXT, contexts)[0][0] == OptionReply.ERR_INVALID  # not structured yet
        assert client.ask(Option.GO, encode_info_request("0"))[-1][0] == OptionReply.ACK


@pytest.mark.parametrize(
    ("option", "queries", "found"),
    [
        (Option.LIST_META_CONTEXT, [], 1),
        (Option.LIST_META_CONTEXT, ["base:"], 1),
        (Option.LIST_META_CONTEXT, ["qemu:"], 0),
        (Option.SET_META_CONTEXT, ["base:allocation", "qemu:dirty-bitmap:b"], 1),
        (Option.SET_META_CONTEXT, ["base:"], 0),
        (Option.SET_META_CONTEXT, [], 0),
    ],
)
def test_the_context_of_allocation_is_offered(tmp_path: Path, option: Option, queries: list[str], found: int) -> None:
    with serving(tmp_path, MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet()
        client.ask(Option.STRUCTURED_REPLY)
        replies = client.ask(option, encode_meta_request("0", queries))
        assert [payload[4:] for _, payload in replies[:-1]] == [b"base:allocation"] * found
        assert replies[-1] == (OptionReply.ACK, b"")


def test_a_context_chosen_for_another_export_does_not_count(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(SMALL), MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet()
        client.ask(Option.STRUCTURED_REPLY)
        client.ask(Option.SET_META_CONTEXT, encode_meta_request("1", ["base:allocation"]))
        client.ask(Option.GO, encode_info_request("0"))
        client.say(Request(0, Command.BLOCK_STATUS, 1, 0, 4096))
        assert decode_error(Chunk.ERROR, client.chunk()[1]).error == Error.EINVAL


@pytest.mark.parametrize("zeroes", [True, False])
def test_a_client_may_go_the_old_way(tmp_path: Path, zeroes: bool) -> None:
    with serving(tmp_path, MemoryDisk(SMALL)) as served, served.client() as client:
        client.greet(HandshakeFlag.FIXED_NEWSTYLE | (0 if zeroes else HandshakeFlag.NO_ZEROES))
        client.socket.sendall(b"IHAVEOPT\0\0\0\1\0\0\0\1" + b"0")
        assert EXPORT_NAME_REPLY.unpack(client.take(EXPORT_NAME_REPLY.size)) == (len(SMALL), READ_ONLY)
        if zeroes:
            assert client.take(124) == bytes(124)
        client.say(read(5, 10, 20))
        assert client.simple() == (0, 5)
        assert client.take(20) == SMALL[10:30]


def test_a_client_that_ends_the_handshake_is_let_go(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(SMALL)) as served:
        with served.client() as client:
            client.greet()
            assert client.ask(Option.ABORT) == [(OptionReply.ACK, b"")]
            assert client.is_closed()
        with served.client() as client:
            client.greet()
            client.socket.sendall(b"IHAVEOPT\0\0\0\1\0\0\0\1" + b"7")  # the old way has no other answer
            assert client.is_closed()


# Reads


@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.parametrize("structured", [True, False])
def test_many_reads_at_once_are_all_answered_with_the_right_bytes(
    tmp_path: Path, structured: bool, is_here: bool
) -> None:
    rng = random.Random(3)
    image = noise(2, 300_000)
    disk = MemoryDisk(image)
    disk.is_here = is_here
    with serving(tmp_path, disk) as served, served.client() as client:
        client.go(structured=structured)
        wanted = {}
        for cookie in range(400):
            length = rng.choice((1, 512, 4096, 50_000))
            wanted[cookie] = Extent(rng.randrange(len(image) - length + 1), length)
        client.say(*(read(cookie, *extent) for cookie, extent in wanted.items()))
        while wanted:
            if structured:
                head, payload = client.chunk()
                extent = wanted.pop(head.cookie)
                assert (head.flags, head.kind) == (1, Chunk.OFFSET_DATA)
                assert int.from_bytes(payload[:8], "big") == extent.offset
                data = payload[8:]
            else:
                error, cookie = client.simple()
                assert error == 0
                extent = wanted.pop(cookie)
                data = client.take(extent.length)
            assert data == image[extent.offset : extent.end]


@pytest.mark.parametrize("flags", [0, CommandFlag.DF])
def test_the_longest_read_there_is_comes_whole(tmp_path: Path, flags: int) -> None:
    image = bytes(33 << 20)
    with serving(tmp_path, MemoryDisk(image)) as served, served.client() as client:
        client.go().say(read(1, 4096, 32 << 20, flags))
        head, payload = client.chunk()
        assert head == (1, Chunk.OFFSET_DATA, 1, (32 << 20) + 8)
        assert not any(payload[8:])


def test_what_takes_waiting_holds_up_nothing_else(tmp_path: Path) -> None:
    disk = MemoryDisk(SMALL)
    disk.is_here = False
    disk.goes_on.clear()
    other = MemoryDisk(noise(2, 4096))
    with serving(tmp_path, disk, other) as served, served.client() as client, served.client() as second:
        client.go().say(*(read(cookie, 0, 100) for cookie in range(20)))
        second.go(export="1").say(read(1, 0, 4096))
        assert second.chunk()[1][8:] == noise(2, 4096)
        disk.is_here = True
        client.say(read(99, 100, 100))
        head, payload = client.chunk()
        assert (head.cookie, payload[8:]) == (99, SMALL[100:200])
        disk.goes_on.set()
        assert sorted(client.chunk()[0].cookie for _ in range(20)) == list(range(20))


# Block status


@pytest.mark.parametrize("seed", range(5))
def test_block_status_tells_data_from_holes(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    image = bytes(random_image(rng, 400_000))
    disk = MemoryDisk(image)
    with serving(tmp_path, disk) as served, served.client() as client:
        client.go()
        for cookie in range(20):
            length = rng.randrange(1, len(image))
            offset = rng.randrange(len(image) - length + 1)
            client.say(Request(0, Command.BLOCK_STATUS, cookie, offset, length))
            head, payload = client.chunk()
            assert (head.kind, head.cookie) == (Chunk.BLOCK_STATUS, cookie)
            context, extents = decode_block_status(payload)
            assert context == 1
            assert {flags for _, flags in extents} <= {0, 3}
            assert sum(length for length, _ in extents) == length
            data = []
            for count, flags in extents:
                if not flags:
                    data.append(Extent(offset, count))
                offset += count
            assert normal(data) == list(disk.data_extents(offset - length, length))
            client.say(Request(CommandFlag.REQ_ONE, Command.BLOCK_STATUS, cookie, offset - length, length))
            assert decode_block_status(client.chunk()[1])[1] == extents[:1]


def test_a_disk_in_very_many_pieces_is_told_in_several_answers(tmp_path: Path) -> None:
    disk = MemoryDisk((bytes(4096) + noise(1, 4096)) * 5000)
    with serving(tmp_path, disk) as served, served.client() as client:
        client.go()
        at, count = 0, 0
        while at < disk.size:
            client.say(Request(0, Command.BLOCK_STATUS, 1, at, disk.size - at))
            _, extents = decode_block_status(client.chunk()[1])
            at += sum(length for length, _ in extents)
            count += len(extents)
            assert len(extents) <= 4096
        assert count == 10_000


# Refusals


@pytest.mark.parametrize("structured", [True, False])
def test_writers_are_refused_and_may_go_on_reading(tmp_path: Path, structured: bool) -> None:
    with serving(tmp_path, MemoryDisk(SMALL)) as served, served.client() as client:
        client.go(structured=structured)
        for request, payload in (
            (Request(0, Command.WRITE, 1, 0, 300_000), bytes(300_000)),
            (Request(CommandFlag.FUA, Command.WRITE, 1, 0, 7), b"destroy"),
            (Request(0, Command.TRIM, 1, 0, 4096), b""),
            (Request(0, Command.WRITE_ZEROES, 1, 0, 1 << 31), b""),
        ):
            client.say(request)
            client.socket.sendall(payload)
            assert error_of(client, structured) == Error.EPERM
        client.say(read(2, 0, 5))
        assert (client.chunk()[1][8:] if structured else (client.simple(), client.take(5))[1]) == SMALL[:5]


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (read(1, 9_999, 2), Error.EINVAL),
        (read(1, 1 << 63, 4096), Error.EINVAL),
        (read(1, 0, 0), Error.EINVAL),
        (read(1, 0, 1, CommandFlag.FUA), Error.EINVAL),
        (read(1, 0, (32 << 20) + 1), Error.EOVERFLOW),
        (Request(0, Command.FLUSH, 1, 0, 0), Error.EINVAL),
        (Request(0, Command.CACHE, 1, 0, 1), Error.EINVAL),
        (Request(0, 4711, 1, 0, 1), Error.EINVAL),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_client_may_go_on(
    tmp_path: Path, request_: Request, error: Error, structured: bool
) -> None:
    with serving(tmp_path, MemoryDisk(SMALL)) as served, served.client() as client:
        client.go(structured=structured).say(request_, request_)
        assert error_of(client, structured) == error
        assert error_of(client, structured) == error


def error_of(client: Client, structured: bool) -> int:
    if not structured:
        return client.simple()[0]
    head, payload = client.chunk()
    return decode_error(head.kind, payload).error


@pytest.mark.parametrize("structured", [True, False])
def test_damage_fails_the_reads_that_touch_it_and_is_told(tmp_path: Path, structured: bool) -> None:
    disk = MemoryDisk(SMALL)
    disk.is_here = False
    disk.lost = [Extent(4096, 1000)]
    with serving(tmp_path, disk) as served, served.client() as client:
        client.go(structured=structured).say(read(1, 4000, 200))
        if structured:
            head, payload = client.chunk()
            failure = decode_error(head.kind, payload)
            assert (failure.error, failure.offset) == (Error.EIO, 4096)
            assert failure.message == "disk 0: 104 bytes at 4096: c-1.2 at 3: a fake that is damaged"
        else:
            assert client.simple() == (Error.EIO, 1)
        (fault,) = served.faults
        assert isinstance(fault, ExtentLost)
        client.say(read(2, 4000, 96))
        assert (client.chunk()[1][8:] if structured else (client.simple(), client.take(96))[1]) == SMALL[4000:4096]


def test_a_repository_that_is_away_fails_reads_until_it_is_back(tmp_path: Path) -> None:
    disk = MemoryDisk(SMALL)
    disk.is_here = False
    disk.is_away = True
    with serving(tmp_path, disk) as served, served.client() as client:
        client.go().say(read(1, 0, 200))
        assert error_of(client, True) == Error.EIO
        assert isinstance(served.faults[0], RepositoryUnreachable)
        disk.is_away = False
        client.say(read(2, 0, 200))
        assert client.chunk()[1][8:] == SMALL[:200]


# Ends


def test_a_client_that_disconnects_gets_what_it_asked_for_before(tmp_path: Path) -> None:
    disk = MemoryDisk(SMALL)
    disk.is_here = False
    with serving(tmp_path, disk) as served, served.client() as client:
        client.go().say(read(1, 0, 200), Request(0, Command.DISC, 2, 0, 0), read(3, 0, 200))
        assert client.chunk()[1][8:] == SMALL[:200]
        assert client.is_closed()


def test_a_client_that_vanishes_while_it_is_waited_for_harms_nobody(tmp_path: Path) -> None:
    disk = MemoryDisk(SMALL)
    disk.is_here = False
    disk.goes_on.clear()
    with serving(tmp_path, disk) as served:
        with served.client() as client:
            client.go().say(*(read(cookie, 0, 100) for cookie in range(10)))
        disk.goes_on.set()
        with served.client() as client:
            client.go().say(read(1, 0, 200))
            assert client.chunk()[1][8:] == SMALL[:200]
