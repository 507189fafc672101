"""What crosses an NBD connection: fixed newstyle handshake, options, requests, simple and structured replies.

Every struct is encoded here and decoded here, for both sides. Decoders take exactly the bytes that the header before
them announced, and raise NbdMalformed when those are not what the specification says; they never guess. How many bytes
a side is ready to take is its own matter: bound the length in a header before reading what it announces.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vsa.faults import NbdMalformed
from vsa.nbd.numbers import (
    INIT_MAGIC,
    OPTION_MAGIC,
    OPTION_REPLY_MAGIC,
    REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC,
    STRING_MAX_BYTES,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
    Info,
)

GREETING = struct.Struct(">QQH")  # magic, option magic, handshake flags
CLIENT_FLAGS = struct.Struct(">I")
OPTION_HEAD = struct.Struct(">QII")  # magic, option, length
OPTION_REPLY_HEAD = struct.Struct(">QIII")  # magic, option, reply, length
EXPORT_NAME_REPLY = struct.Struct(">QH")  # size, export flags; then 124 zeros unless both sides said NO_ZEROES
REQUEST = struct.Struct(">IHHQQI")  # magic, flags, command, cookie, offset, length
REPLY_MAGIC = struct.Struct(">I")
SIMPLE_REPLY = struct.Struct(">IIQ")  # magic, error, cookie
CHUNK_HEAD = struct.Struct(">IHHQI")  # magic, flags, kind, cookie, length

_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")
_INFO_EXPORT = struct.Struct(">HQH")
_INFO_BLOCK_SIZE = struct.Struct(">HIII")
_OFFSET_HOLE = struct.Struct(">QI")
_STATUS_EXTENT = struct.Struct(">II")


class ExportInfo(NamedTuple):
    """Size and flags of an export."""

    size: int
    flags: int


class BlockSizes(NamedTuple):
    """Least, preferred and greatest length of a request, in bytes."""

    minimum: int
    preferred: int
    maximum: int


class Request(NamedTuple):
    """A command. What a write writes follows it, `length` bytes."""

    flags: int
    command: int
    cookie: int
    offset: int
    length: int


class ChunkHead(NamedTuple):
    """The head of one chunk of a structured reply."""

    flags: int
    kind: int
    cookie: int
    length: int


class ErrorChunk(NamedTuple):
    """A command failed: why, and where if the server says."""

    error: int
    message: str
    offset: int | None


class StatusExtent(NamedTuple):
    """So many bytes with the same flags."""

    length: int
    flags: int


class _Cursor:
    """Takes a payload apart from front to back; `what` names it in faults."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._position = 0

    def take(self, length: int) -> bytes:
        left = len(self._data) - self._position
        if length > left:
            raise NbdMalformed(f"{self._what}: expected {length} more bytes at {self._position}, found {left}")
        self._position += length
        return self._data[self._position - length : self._position]

    def number(self, size: struct.Struct) -> int:
        value: int = size.unpack(self.take(size.size))[0]
        return value

    def text(self) -> str:
        """A string with its length before it."""
        return self.text_of(self.number(_U32))

    def text_of(self, length: int) -> str:
        if length > STRING_MAX_BYTES:
            raise NbdMalformed(f"{self._what}: expected a string of {STRING_MAX_BYTES} bytes at most, found {length}")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise NbdMalformed(f"{self._what}: expected UTF-8, found {error.object!r}") from error

    def rest(self) -> int:
        return len(self._data) - self._position

    def end(self) -> None:
        if self.rest():
            raise NbdMalformed(f"{self._what}: expected {self._position} bytes, found {len(self._data)}")


def _text(text: str) -> bytes:
    """A string as it is sent, without its length."""
    encoded = text.encode("utf-8")
    if len(encoded) > STRING_MAX_BYTES:
        raise ValueError(f"a string of {len(encoded)} bytes; the protocol allows {STRING_MAX_BYTES}")
    return encoded


def _counted(text: str) -> bytes:
    encoded = _text(text)
    return _U32.pack(len(encoded)) + encoded


def _expect_magic(what: str, expected: int, found: int) -> None:
    if found != expected:
        raise NbdMalformed(f"{what}: expected magic {expected:#x}, found {found:#x}")


# Greeting


def encode_greeting(flags: int) -> bytes:
    """What a server says first."""
    return GREETING.pack(INIT_MAGIC, OPTION_MAGIC, flags)


def decode_greeting(data: bytes) -> int:
    """The handshake flags. An oldstyle server has another second magic, and is refused by it."""
    magic, style, flags = GREETING.unpack(data)
    _expect_magic("greeting", INIT_MAGIC, magic)
    _expect_magic("greeting: newstyle", OPTION_MAGIC, style)
    return int(flags)


# Options


def encode_option(option: int, payload: bytes = b"") -> bytes:
    """An option and its payload."""
    return OPTION_HEAD.pack(OPTION_MAGIC, option, len(payload)) + payload


def decode_option_head(data: bytes) -> tuple[int, int]:
    """Which option, and how many bytes of payload follow."""
    magic, option, length = OPTION_HEAD.unpack(data)
    _expect_magic("option", OPTION_MAGIC, magic)
    return option, length


def encode_option_reply(option: int, reply: int, payload: bytes = b"") -> bytes:
    """An answer to `option`. The payload of an error is a message for people, or nothing."""
    return OPTION_REPLY_HEAD.pack(OPTION_REPLY_MAGIC, option, reply, len(payload)) + payload


def decode_option_reply_head(data: bytes) -> tuple[int, int, int]:
    """Which option is answered, how, and how many bytes of payload follow."""
    magic, option, reply, length = OPTION_REPLY_HEAD.unpack(data)
    _expect_magic("option reply", OPTION_REPLY_MAGIC, magic)
    return option, reply, length


def encode_info_request(export: str, kinds: Sequence[int] = ()) -> bytes:
    """The payload of Option.INFO and Option.GO."""
    return b"".join((_counted(export), _U16.pack(len(kinds)), *map(_U16.pack, kinds)))


def decode_info_request(data: bytes) -> tuple[str, list[int]]:
    """Which export, and what kinds of information are wanted besides Info.EXPORT."""
    cursor = _Cursor(data, "info request")
    export = cursor.text()
    kinds = [cursor.number(_U16) for _ in range(cursor.number(_U16))]
    cursor.end()
    return export, kinds


def encode_info_export(info: ExportInfo) -> bytes:
    """The payload of OptionReply.INFO for Info.EXPORT."""
    return _INFO_EXPORT.pack(Info.EXPORT, info.size, info.flags)


def encode_info_block_size(sizes: BlockSizes) -> bytes:
    """The payload of OptionReply.INFO for Info.BLOCK_SIZE."""
    return _INFO_BLOCK_SIZE.pack(Info.BLOCK_SIZE, *sizes)


def encode_info_text(kind: Info, text: str) -> bytes:
    """The payload of OptionReply.INFO for Info.NAME and Info.DESCRIPTION."""
    return _U16.pack(kind) + _text(text)


def decode_info(data: bytes) -> ExportInfo | BlockSizes | None:
    """What OptionReply.INFO tells; None for kinds that nothing depends on."""
    cursor = _Cursor(data, "export information")
    kind = cursor.number(_U16)
    if kind == Info.EXPORT:
        info = ExportInfo(cursor.number(_U64), cursor.number(_U16))
        cursor.end()
        return info
    if kind == Info.BLOCK_SIZE:
        sizes = BlockSizes(cursor.number(_U32), cursor.number(_U32), cursor.number(_U32))
        cursor.end()
        minimum, preferred, maximum = sizes
        if minimum & (minimum - 1) or not 1 <= minimum <= 65536 or not minimum <= preferred or maximum < minimum:
            raise NbdMalformed(f"export information: expected block sizes that agree, found {tuple(sizes)}")
        return sizes
    return None


def encode_server(export: str, description: str = "") -> bytes:
    """The payload of OptionReply.SERVER: one export in a list."""
    return _counted(export) + _text(description)


def decode_server(data: bytes) -> tuple[str, str]:
    """One export in a list: its name, and what its server says of it."""
    cursor = _Cursor(data, "list of exports")
    return cursor.text(), cursor.text_of(cursor.rest())


def encode_meta_request(export: str, queries: Iterable[str]) -> bytes:
    """The payload of Option.SET_META_CONTEXT and Option.LIST_META_CONTEXT."""
    counted = [_counted(query) for query in queries]
    return b"".join((_counted(export), _U32.pack(len(counted)), *counted))


def decode_meta_request(data: bytes) -> tuple[str, list[str]]:
    """Which export, and the names or patterns of the contexts that are asked for."""
    cursor = _Cursor(data, "meta contexts asked for")
    export, count = cursor.text(), cursor.number(_U32)
    if count > cursor.rest() // _U32.size:
        raise NbdMalformed(f"meta contexts asked for: expected {count} of them, found {cursor.rest()} bytes")
    queries = [cursor.text() for _ in range(count)]
    cursor.end()
    return export, queries


def encode_meta_context(context: int, name: str) -> bytes:
    """The payload of OptionReply.META_CONTEXT."""
    return _U32.pack(context) + _text(name)


def decode_meta_context(data: bytes) -> tuple[int, str]:
    """The number that the server gives to a context, and the context's name."""
    cursor = _Cursor(data, "meta context")
    return cursor.number(_U32), cursor.text_of(cursor.rest())


# Transmission


def encode_request(request: Request) -> bytes:
    """A command, without what a write writes."""
    return REQUEST.pack(REQUEST_MAGIC, *request)


def decode_request(data: bytes) -> Request:
    """A command; any number may be in it but the magic."""
    magic, *members = REQUEST.unpack(data)
    _expect_magic("request", REQUEST_MAGIC, magic)
    return Request(*members)


def encode_simple_reply(error: int, cookie: int) -> bytes:
    """A simple reply; after one to a read without error come the bytes."""
    return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, error, cookie)


def decode_simple_reply(data: bytes) -> tuple[int, int]:
    """Error and cookie."""
    magic, error, cookie = SIMPLE_REPLY.unpack(data)
    _expect_magic("reply", SIMPLE_REPLY_MAGIC, magic)
    return error, cookie


def encode_chunk_head(head: ChunkHead) -> bytes:
    """The head of a chunk; `head.length` bytes of payload follow."""
    return CHUNK_HEAD.pack(STRUCTURED_REPLY_MAGIC, *head)


def decode_chunk_head(data: bytes) -> ChunkHead:
    """What chunk comes, and how many bytes of payload follow."""
    magic, *members = CHUNK_HEAD.unpack(data)
    _expect_magic("structured reply", STRUCTURED_REPLY_MAGIC, magic)
    return ChunkHead(*members)


def encode_data_offset(offset: int) -> bytes:
    """What goes before the bytes in the payload of Chunk.OFFSET_DATA."""
    return _U64.pack(offset)


def encode_hole(offset: int, length: int) -> bytes:
    """The payload of Chunk.OFFSET_HOLE."""
    return _OFFSET_HOLE.pack(offset, length)


def decode_hole(data: bytes) -> tuple[int, int]:
    """Offset and length of a hole; at least one byte."""
    cursor = _Cursor(data, "hole chunk")
    offset, length = cursor.number(_U64), cursor.number(_U32)
    cursor.end()
    if length == 0:
        raise NbdMalformed("hole chunk: expected a hole of at least 1 byte, found 0")
    return offset, length


def encode_error(error: ErrorChunk) -> bytes:
    """The payload of Chunk.ERROR, or of Chunk.ERROR_OFFSET when there is an offset."""
    message = _text(error.message)
    where = b"" if error.offset is None else _U64.pack(error.offset)
    return _U32.pack(error.error) + _U16.pack(len(message)) + message + where


def decode_error(kind: int, data: bytes) -> ErrorChunk:
    """Why a command failed. Of kinds that this build does not know, only what all error chunks begin with is read."""
    cursor = _Cursor(data, "error chunk")
    error = cursor.number(_U32)
    message = cursor.text_of(cursor.number(_U16))
    offset = cursor.number(_U64) if kind == Chunk.ERROR_OFFSET else None
    if kind in (Chunk.ERROR, Chunk.ERROR_OFFSET):
        cursor.end()
    if error == 0:
        raise NbdMalformed("error chunk: expected an error, found 0")
    return ErrorChunk(error, message, offset)


def encode_block_status(context: int, extents: Iterable[StatusExtent]) -> bytes:
    """The payload of Chunk.BLOCK_STATUS."""
    return b"".join((_U32.pack(context), *(_STATUS_EXTENT.pack(*extent) for extent in extents)))


def decode_block_status(data: bytes) -> tuple[int, list[StatusExtent]]:
    """The context's number, and its extents from the offset of the request on; at least one, none of them empty."""
    cursor = _Cursor(data, "block status")
    context = cursor.number(_U32)
    if cursor.rest() == 0 or cursor.rest() % _STATUS_EXTENT.size:
        raise NbdMalformed(f"block status: expected extents of {_STATUS_EXTENT.size} bytes, found {cursor.rest()}")
    extents = [StatusExtent(*pair) for pair in _STATUS_EXTENT.iter_unpack(cursor.take(cursor.rest()))]
    if not all(extent.length for extent in extents):
        raise NbdMalformed("block status: expected extents of at least 1 byte, found one of 0")
    return context, extents
