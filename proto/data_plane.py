"""The data plane: bulk bytes between a VSA and a MediaAgent, raw, never inside a protobuf message.

A call of its own server and port, so that streams cannot starve control. Little-endian. `SESSION`, `CID`, `SIZE` and
`OFFSET` are metadata; numbers in them are decimal.

    Locate        n x fingerprint (32)              -> n x container u64, then n x slot u32; container 0 is a miss
    PutContainer  a container's bytes from OFFSET   -> nothing; it is verified and durable
    ParentLeaves  ParentLeavesRequest               -> frames of leaves, in the order asked for
    PutLeaves     frames of leaves                  -> nothing
    RestoreDisk   RestoreRequest                    -> records, holes, losses; the last message is an end
    PointLeaves   PointLeavesRequest                -> frames of leaves, in the order asked for

A frame of a leaf is `disk u32 | segment u32 | length u32 | page`: a leaf page's plain bytes (docs/format.md,
section 6), in which container 0 stands for a place that holds no more. Length 0: all holes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import grpc

from proto import backup_pb2, restore_pb2
from runtime.faults import Fault

SESSION, CID, SIZE, OFFSET = "ingot-session", "ingot-cid", "ingot-size", "ingot-offset"
FINGERPRINT_BYTES = 32
MOST_FINGERPRINTS = 16_384  # of one call: 512 KiB
MOST_LEAVES = 1024
LEAVES_BYTES = 512 << 10  # a message of leaves is sent when it has so many

_SERVICE = "ingot.v1.Data"
_LEAF = struct.Struct("<III")
_RECORD = struct.Struct("<IBxxxII32s")
_EXTENT = struct.Struct("<QQ")
_RECORDS, _HOLES, _LOST, _END = range(1, 5)


class MessageMalformed(Fault):
    """A raw message is not what the contract says."""

    code = "proto.message_malformed"


class FramedLeaf(NamedTuple):
    """A leaf page's plain bytes; empty for holes."""

    disk: int
    segment: int
    page: bytes


class RestoredRecord(NamedTuple):
    """A chunk, still compressed: where on the disk it belongs, and what its plain bytes must be."""

    offsets: tuple[int, ...]
    codec: int
    plain_len: int
    fingerprint: bytes
    content: bytes | memoryview


class Records(NamedTuple):
    """Chunks, in any order."""

    records: list[RestoredRecord]


class Holes(NamedTuple):
    """Extents that nothing covers: (offset, length)."""

    extents: list[tuple[int, int]]


class Losses(NamedTuple):
    """Extents that cannot be brought back: (offset, length), all for one reason."""

    extents: list[tuple[int, int]]
    code: str
    message: str


class End(NamedTuple):
    """Everything was sent."""


RestoreMessage = Records | Holes | Losses | End


def pack_extents(extents: Iterable[tuple[int, int]]) -> bytes:
    """As a request carries them."""
    return b"".join(_EXTENT.pack(*extent) for extent in extents)


def unpack_extents(raw: bytes) -> list[tuple[int, int]]:
    """Raises MessageMalformed."""
    if len(raw) % _EXTENT.size:
        raise MessageMalformed(f"extents: {len(raw)} bytes, expected pairs of {_EXTENT.size}")
    return list(_EXTENT.iter_unpack(raw))


def frame_leaf(leaf: FramedLeaf) -> bytes:
    """One frame."""
    return _LEAF.pack(leaf.disk, leaf.segment, len(leaf.page)) + leaf.page


def leaves_in(message: bytes) -> Iterator[FramedLeaf]:
    """The frames of a message. Raises MessageMalformed."""
    at = 0
    while at < len(message):
        if at + _LEAF.size > len(message):
            raise MessageMalformed(f"leaves: {len(message) - at} bytes at {at}, expected a frame of {_LEAF.size}")
        disk, segment, length = _LEAF.unpack_from(message, at)
        at += _LEAF.size
        if at + length > len(message):
            raise MessageMalformed(f"leaves: {len(message) - at} bytes at {at}, expected a page of {length}")
        yield FramedLeaf(disk, segment, message[at : at + length])
        at += length


def pack_restore(message: RestoreMessage) -> bytes:
    """As it is streamed."""
    if isinstance(message, Records):
        parts: list[bytes | memoryview] = [bytes((_RECORDS,))]
        for record in message.records:
            places = len(record.offsets)
            head = _RECORD.pack(places, record.codec, record.plain_len, len(record.content), record.fingerprint)
            parts += (head, struct.pack(f"<{places}Q", *record.offsets), record.content)
        return b"".join(parts)
    if isinstance(message, Holes):
        return bytes((_HOLES,)) + b"".join(_EXTENT.pack(*extent) for extent in message.extents)
    if isinstance(message, Losses):
        code, text = message.code.encode(), message.message.encode()
        extents = b"".join(_EXTENT.pack(*extent) for extent in message.extents)
        head = bytes((_LOST,)) + struct.pack("<HI", len(code), len(text))
        return head + code + text + extents
    return bytes((_END,))


def unpack_restore(raw: bytes) -> RestoreMessage:
    """What a message of a restore says. Raises MessageMalformed."""
    try:
        kind, view = raw[0], memoryview(raw)
        if kind == _RECORDS:
            return Records(list(_records(view[1:])))
        if kind == _HOLES:
            return Holes(list(_EXTENT.iter_unpack(view[1:])))
        if kind == _LOST:
            code_len, text_len = struct.unpack_from("<HI", raw, 1)
            code = 1 + struct.calcsize("<HI")
            text = code + code_len
            extents = list(_EXTENT.iter_unpack(view[text + text_len :]))
            return Losses(extents, raw[code:text].decode(), raw[text : text + text_len].decode())
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"restore: a message of {len(raw)} bytes: {error}") from error
    if kind != _END:
        raise MessageMalformed(f"restore: a message of kind {kind}")
    return End()


def _records(view: memoryview) -> Iterator[RestoredRecord]:
    at = 0
    while at < len(view):
        places, codec, plain_len, content_len, fingerprint = _RECORD.unpack_from(view, at)
        at += _RECORD.size
        offsets = struct.unpack_from(f"<{places}Q", view, at)
        at += 8 * places
        if at + content_len > len(view):
            raise struct.error(f"{len(view) - at} bytes at {at}, expected {content_len}")
        yield RestoredRecord(offsets, codec, plain_len, fingerprint, view[at : at + content_len])
        at += content_len


def _raw(message: bytes) -> bytes:
    return message


class DataHandlers(NamedTuple):
    """What serves the data plane: one function a call."""

    locate: Callable[[bytes, grpc.ServicerContext], bytes]
    put_container: Callable[[Iterator[bytes], grpc.ServicerContext], bytes]
    parent_leaves: Callable[[backup_pb2.ParentLeavesRequest, grpc.ServicerContext], Iterator[bytes]]
    put_leaves: Callable[[bytes, grpc.ServicerContext], bytes]
    restore_disk: Callable[[restore_pb2.RestoreRequest, grpc.ServicerContext], Iterator[bytes]]
    point_leaves: Callable[[restore_pb2.PointLeavesRequest, grpc.ServicerContext], Iterator[bytes]]


def add_data_handlers(handlers: DataHandlers, server: grpc.Server) -> None:
    """Serve them."""
    by_name: dict[str, Any] = {
        "Locate": grpc.unary_unary_rpc_method_handler(handlers.locate, _raw, _raw),
        "PutContainer": grpc.stream_unary_rpc_method_handler(handlers.put_container, _raw, _raw),
        "ParentLeaves": grpc.unary_stream_rpc_method_handler(
            handlers.parent_leaves, backup_pb2.ParentLeavesRequest.FromString, _raw
        ),
        "PutLeaves": grpc.unary_unary_rpc_method_handler(handlers.put_leaves, _raw, _raw),
        "RestoreDisk": grpc.unary_stream_rpc_method_handler(
            handlers.restore_disk, restore_pb2.RestoreRequest.FromString, _raw
        ),
        "PointLeaves": grpc.unary_stream_rpc_method_handler(
            handlers.point_leaves, restore_pb2.PointLeavesRequest.FromString, _raw
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, by_name),))


class DataStub:
    """The caller's side."""

    def __init__(self, channel: grpc.Channel) -> None:
        def path(name: str) -> str:
            return f"/{_SERVICE}/{name}"

        self.locate = channel.unary_unary(path("Locate"), _raw, _raw)
        self.put_container = channel.stream_unary(path("PutContainer"), _raw, _raw)
        self.parent_leaves = channel.unary_stream(
            path("ParentLeaves"), backup_pb2.ParentLeavesRequest.SerializeToString, _raw
        )
        self.put_leaves = channel.unary_unary(path("PutLeaves"), _raw, _raw)
        self.restore_disk = channel.unary_stream(
            path("RestoreDisk"), restore_pb2.RestoreRequest.SerializeToString, _raw
        )
        self.point_leaves = channel.unary_stream(
            path("PointLeaves"), restore_pb2.PointLeavesRequest.SerializeToString, _raw
        )


def slices(body: memoryview, offset: int, message_bytes: int) -> Iterator[bytes]:
    """`body` from `offset` on, in messages."""
    for at in range(offset, len(body), message_bytes):
        yield bytes(body[at : at + message_bytes])


def joined(frames: Iterable[bytes], message_bytes: int = LEAVES_BYTES) -> Iterator[bytes]:
    """Frames in messages of about `message_bytes`."""
    batch: list[bytes] = []
    held = 0
    for frame in frames:
        batch.append(frame)
        held += len(frame)
        if held >= message_bytes:
            yield b"".join(batch)
            batch, held = [], 0
    if batch:
        yield b"".join(batch)
