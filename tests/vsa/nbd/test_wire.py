"""What is sent is what is received, and whatever else is received is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsa.faults import NbdMalformed
from vsa.nbd import wire
from vsa.nbd.numbers import Chunk, Command, Info, Option, OptionReply
from vsa.nbd.wire import BlockSizes, ChunkHead, ErrorChunk, ExportInfo, Request, StatusExtent

TEXT = st.text(max_size=200)
U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))

DECODERS: list[Callable[[bytes], object]] = [
    wire.decode_info_request,
    wire.decode_info,
    wire.decode_server,
    wire.decode_meta_request,
    wire.decode_meta_context,
    wire.decode_hole,
    lambda data: wire.decode_error(Chunk.ERROR, data),
    lambda data: wire.decode_error(Chunk.ERROR_OFFSET, data),
    lambda data: wire.decode_error(0x80FF, data),
    wire.decode_block_status,
]


def test_a_request_has_the_bytes_of_the_specification() -> None:
    request = Request(1, Command.WRITE, 0x0102030405060708, 4096, 512)
    data = bytes.fromhex("25609513 0001 0001 0102030405060708 0000000000001000 00000200")
    assert wire.encode_request(request) == data
    assert wire.decode_request(data) == request


def test_a_handshake_has_the_bytes_of_the_specification() -> None:
    assert wire.encode_greeting(3) == b"NBDMAGICIHAVEOPT\x00\x03"
    assert wire.encode_option(Option.GO, b"xy") == b"IHAVEOPT\0\0\0\x07\0\0\0\x02xy"
    reply = wire.encode_option_reply(Option.GO, OptionReply.ERR_UNSUP)
    assert reply == bytes.fromhex("0003e889045565a9 00000007 80000001 00000000")
    assert wire.encode_info_request("a", [3]) == b"\0\0\0\x01a\0\x01\0\x03"
    assert wire.encode_meta_request("", ["base:allocation"]) == b"\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation"


def test_replies_have_the_bytes_of_the_specification() -> None:
    assert wire.encode_simple_reply(5, 7) == bytes.fromhex("67446698 00000005 0000000000000007")
    head = ChunkHead(1, Chunk.OFFSET_HOLE, 7, 12)
    assert wire.encode_chunk_head(head) == bytes.fromhex("668e33ef 0001 0002 0000000000000007 0000000c")
    assert wire.encode_hole(4096, 512) == bytes.fromhex("0000000000001000 00000200")
    assert wire.encode_error(ErrorChunk(5, "no", 1)) == bytes.fromhex("00000005 0002 6e6f 0000000000000001")
    assert wire.encode_block_status(9, [StatusExtent(512, 3)]) == bytes.fromhex("00000009 00000200 00000003")


@given(U64, U16, TEXT, st.lists(U16, max_size=5), st.lists(TEXT, max_size=5), U32, U64)
def test_what_is_encoded_decodes_to_the_same(
    size: int, flags: int, text: str, kinds: list[int], queries: list[str], number: int, offset: int
) -> None:
    assert wire.decode_greeting(wire.encode_greeting(flags)) == flags
    assert wire.decode_option_head(wire.encode_option(number, b"abc")[:16]) == (number, 3)
    reply = wire.encode_option_reply(Option.LIST, number, b"ab")
    assert wire.decode_option_reply_head(reply[:20]) == (Option.LIST, number, 2)
    assert wire.decode_info_request(wire.encode_info_request(text, kinds)) == (text, kinds)
    assert wire.decode_info(wire.encode_info_export(ExportInfo(size, flags))) == ExportInfo(size, flags)
    assert wire.decode_info(wire.encode_info_text(Info.NAME, text)) is None
    assert wire.decode_server(wire.encode_server(text, "why")) == (text, "why")
    assert wire.decode_meta_request(wire.encode_meta_request(text, queries)) == (text, queries)
    assert wire.decode_meta_context(wire.encode_meta_context(number, text)) == (number, text)
    assert wire.decode_hole(wire.encode_hole(offset, number or 1)) == (offset, number or 1)
    for kind, where in ((Chunk.ERROR, None), (Chunk.ERROR_OFFSET, offset)):
        error = ErrorChunk(number or 1, text, where)
        assert wire.decode_error(kind, wire.encode_error(error)) == error
    assert wire.decode_simple_reply(wire.encode_simple_reply(number, offset)) == (number, offset)
    head = ChunkHead(flags, flags, offset, number)
    assert wire.decode_chunk_head(wire.encode_chunk_head(head)) == head
    extents = [StatusExtent(number or 1, kind) for kind in [0, *kinds]]
    assert wire.decode_block_status(wire.encode_block_status(number, extents)) == (number, extents)


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_are_malformed(data: bytes) -> None:
    for decode in DECODERS:
        with suppress(NbdMalformed):
            decode(data)


@pytest.mark.parametrize(
    ("decode", "data", "message"),
    [
        (wire.decode_greeting, b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\0\0", "newstyle: expected magic 0x4948"),
        (wire.decode_greeting, b"SSH-2.0-OpenSSH_9.", "greeting: expected magic 0x4e42444d41474943"),
        (wire.decode_option_head, bytes(16), "option: expected magic"),
        (wire.decode_option_reply_head, bytes(20), "option reply: expected magic"),
        (wire.decode_request, bytes(28), "request: expected magic 0x25609513, found 0x0"),
        (wire.decode_info_request, b"\0\0\0\x09abc", "expected 9 more bytes at 4, found 3"),
        (wire.decode_info_request, b"\0\0\0\0\0\0more", "expected 6 bytes, found 10"),
        (wire.decode_info_request, b"\0\0\0\0\xff\xff", "expected 2 more bytes at 6, found 0"),
        (wire.decode_server, b"\x7f\xff\xff\xff", "expected a string of 4096 bytes at most, found 2147483647"),
        (wire.decode_server, b"\0\0\0\x01\xff", "expected UTF-8"),
        (wire.decode_meta_request, b"\0\0\0\0\xff\xff\xff\xff", "expected 4294967295 of them, found 0 bytes"),
        (wire.decode_info, b"\0\x00" + bytes(9), "expected 2 more bytes at 10, found 1"),
        (wire.decode_info, b"\0\x03\0\0\x02\x01" + bytes(8), "expected block sizes that agree, found (513, 0, 0)"),
        (wire.decode_hole, bytes(12), "a hole of at least 1 byte"),
        (wire.decode_block_status, bytes(4), "expected extents of 8 bytes, found 0"),
        (wire.decode_block_status, bytes(13), "expected extents of 8 bytes, found 9"),
        (wire.decode_block_status, bytes(12), "at least 1 byte, found one of 0"),
        (lambda data: wire.decode_error(Chunk.ERROR, data), bytes(6), "expected an error, found 0"),
        (lambda data: wire.decode_error(Chunk.ERROR, data), b"\0\0\0\x05\xff\xff", "a string of 4096 bytes at most"),
    ],
)
def test_what_the_specification_does_not_allow_is_named(
    decode: Callable[[bytes], Any], data: bytes, message: str
) -> None:
    with pytest.raises(NbdMalformed) as raised:
        decode(data)
    assert message in str(raised.value)


def test_a_string_that_is_too_long_is_never_sent() -> None:
    with pytest.raises(ValueError, match="4097"):
        wire.encode_server("x" * 4097)


def test_block_sizes_that_agree_are_told() -> None:
    sizes = BlockSizes(512, 4096, 32 << 20)
    assert wire.decode_info(wire.encode_info_block_size(sizes)) == sizes
