"""Containers: header, records, footer, trailer (docs/format.md, section 5). Bytes only; no repository here.

`ContainerWriter` fills one in memory; `decode_*` and `scan` read what it made, also without its tail.
"""

from __future__ import annotations

import enum
import struct
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from media.faults import ContainerCorrupt, FormatTooNew, ObjectForeign, RecordCorrupt
from media.ids import cid_text, sid_of
from media.keys import TAG_BYTES, SealingKey, decode_key_table, encode_key_table
from media.record import HEADER_BYTES, MAGIC, Codec, Type, read_header, stored_size, write_record

FORMAT = 1
HEADER_MAGIC = b"INGOTCN1"
TRAILER_MAGIC = b"INGOTTR1"
TRAILER_BYTES = 64
TAIL_BYTES = 128 << 10  # trailer and footer of nearly every container, in one read
ENTRY_BYTES = 48
FOOTER_DTYPE = np.dtype(
    [
        ("fingerprint", "u1", 32),
        ("offset", "<u4"),
        ("stored_len", "<u4"),
        ("plain_len", "<u4"),
        ("type", "u1"),
        ("codec", "u1"),
        ("seal", "u1"),
        ("flags", "u1"),
    ]
)
assert FOOTER_DTYPE.itemsize == ENTRY_BYTES

_HEADER = struct.Struct("<8sHBBIQ16sQ")
_ENTRY = struct.Struct("<32sIIIBBBB")
_TRAILER = struct.Struct("<8sQIIII16sQ")
_HASH = struct.Struct("<Q")
HEADER_BYTES_MAX = 64 << 10  # more than the largest key table needs

Footer = NDArray[Any]  # of FOOTER_DTYPE, one entry a record in slot order


class Kind(enum.IntEnum):
    DATA = 1
    PAGES = 2


def is_of_data(body: bytes | bytearray | memoryview) -> bool:
    """Whether an object is a container of chunks: what a repository may keep where reading is slower or dearer."""
    return len(body) > _HEADER.size and bytes(body[:8]) == HEADER_MAGIC and body[10] == Kind.DATA


@dataclass(frozen=True)
class ContainerHeader:
    """What the first bytes of a container say."""

    header_len: int
    kind: int
    cid: int
    sid: int
    wrapped_keys: dict[int, bytes]


class ContainerWriter:
    """Records appended to one buffer. Belongs to one thread at a time.

    `buffer` is the container's memory: it is reused, so what `finish` returns is valid until the next writer takes it.
    """

    def __init__(self, buffer: memoryview, cid: int, kind: Kind, repository: uuid.UUID, key: SealingKey) -> None:
        self.cid = cid
        self._buffer = buffer
        self._key = key
        self._entries: list[bytes] = []
        table = encode_key_table(key)
        header_len = _HEADER.size + len(table) + _HASH.size
        header = _HEADER.pack(HEADER_MAGIC, FORMAT, kind, 0, header_len, cid, repository.bytes, sid_of(cid)) + table
        self._buffer[: header_len - _HASH.size] = header
        self._buffer[header_len - _HASH.size : header_len] = _HASH.pack(xxhash.xxh3_64_intdigest(header))
        self._position = header_len

    def __len__(self) -> int:
        """Records so far: the slot of the next."""
        return len(self._entries)

    def has_room(self, content_len: int) -> bool:
        """Whether a record with `content_len` bytes of content still fits, with footer and trailer."""
        footer_len = ENTRY_BYTES * (len(self._entries) + 1)
        return self._position + stored_size(content_len) + footer_len + TRAILER_BYTES <= len(self._buffer)

    def append(self, type_: Type, codec: Codec, content: bytes | memoryview, plain_len: int, fingerprint: bytes) -> int:
        """Add a record and return its slot. The caller made sure that it has room."""
        offset = self._position
        self._position += write_record(self._buffer[offset:], type_, codec, content, plain_len, fingerprint, self._key)
        stored_len = len(content) + TAG_BYTES
        self._entries.append(_ENTRY.pack(fingerprint, offset, stored_len, plain_len, type_, codec, self._key.seal, 0))
        return len(self._entries) - 1

    def finish(self) -> tuple[memoryview, Footer]:
        """Write footer and trailer: the whole container, and its footer as an array of its own."""
        footer = b"".join(self._entries)
        end = self._position
        body_hash = xxhash.xxh3_128_digest(self._buffer[:end])
        trailer = _TRAILER.pack(
            TRAILER_MAGIC,
            self.cid,
            end,
            len(footer),
            len(self._entries),
            0,
            body_hash,
            xxhash.xxh3_64_intdigest(footer),
        )
        tail = footer + trailer + _HASH.pack(xxhash.xxh3_64_intdigest(trailer))
        self._buffer[end : end + len(tail)] = tail
        return self._buffer[: end + len(tail)], np.frombuffer(footer, FOOTER_DTYPE)

    def release(self) -> memoryview:
        """The buffer, for the next writer."""
        return self._buffer


def header_length(head: bytes) -> int:
    """What a container's first bytes, at least the fixed ones, say of the header's length; not checked yet."""
    return int(_HEADER.unpack_from(head)[4])


def decode_header(head: memoryview, cid: int, repository: uuid.UUID) -> ContainerHeader:
    """The header of container `cid` from its first bytes. Raises ContainerCorrupt, ObjectForeign, FormatTooNew."""
    where = cid_text(cid)
    if len(head) < _HEADER.size:
        raise ContainerCorrupt(f"{where}: {len(head)} bytes at 0, expected a header of at least {_HEADER.size}")
    magic, version, kind, flags, header_len, found_cid, found_repository, sid = _HEADER.unpack_from(head)
    if magic != HEADER_MAGIC:
        raise ContainerCorrupt(f"{where}: magic {magic!r} at 0, expected {HEADER_MAGIC!r}")
    if version > FORMAT or flags:
        raise FormatTooNew(f"{where}: format {version}, flags {flags}: this build reads {FORMAT}, 0")
    if not _HEADER.size + _HASH.size <= header_len <= len(head):
        raise ContainerCorrupt(f"{where}: header of {header_len} bytes at 0, {len(head)} are there")
    (check,) = _HASH.unpack_from(head, header_len - _HASH.size)
    if check != xxhash.xxh3_64_intdigest(head[: header_len - _HASH.size]):
        raise ContainerCorrupt(f"{where}: header at 0 fails its hash")
    if found_repository != repository.bytes:
        raise ObjectForeign(f"{where}: of repository {found_repository.hex()}, expected {repository.hex}")
    if found_cid != cid or sid != sid_of(cid):
        raise ObjectForeign(f"{where}: says that it is {cid_text(found_cid)} of session {sid:x}")
    if kind not in (Kind.DATA, Kind.PAGES):
        raise FormatTooNew(f"{where}: container of kind {kind}: this build reads 1, 2")
    try:
        wrapped_keys, _ = decode_key_table(head[_HEADER.size : header_len - _HASH.size])
    except ValueError as error:
        raise ContainerCorrupt(f"{where}: {error} at {_HEADER.size}") from error
    return ContainerHeader(header_len, kind, cid, sid, wrapped_keys)


@dataclass(frozen=True)
class Trailer:
    """Where the footer is, and the hashes."""

    footer_offset: int
    footer_len: int
    record_count: int
    body_hash: bytes
    footer_hash: int


def decode_trailer(tail: memoryview, cid: int, size: int) -> Trailer:
    """The trailer from the last bytes of a container of `size` bytes. Raises ContainerCorrupt, ObjectForeign."""
    where = cid_text(cid)
    at = size - TRAILER_BYTES
    if len(tail) < TRAILER_BYTES:
        raise ContainerCorrupt(f"{where}: {size} bytes, expected at least a trailer of {TRAILER_BYTES}")
    raw = bytes(tail[-TRAILER_BYTES:])
    magic, found_cid, offset, length, count, reserved, body_hash, footer_hash = _TRAILER.unpack_from(raw)
    if magic != TRAILER_MAGIC:
        raise ContainerCorrupt(f"{where}: magic {magic!r} at {at}, expected {TRAILER_MAGIC!r}")
    if _HASH.unpack_from(raw, _TRAILER.size)[0] != xxhash.xxh3_64_intdigest(raw[: _TRAILER.size]):
        raise ContainerCorrupt(f"{where}: trailer at {at} fails its hash")
    if found_cid != cid:
        raise ObjectForeign(f"{where}: its trailer says that it is {cid_text(found_cid)}")
    if reserved or length != count * ENTRY_BYTES or offset + length + TRAILER_BYTES != size:
        raise ContainerCorrupt(
            f"{where}: trailer at {at}: {count} records, footer of {length} at {offset}, in {size} bytes"
        )
    return Trailer(offset, length, count, body_hash, footer_hash)


def decode_footer(raw: bytes, trailer: Trailer, cid: int) -> Footer:
    """The footer's entries. Raises ContainerCorrupt."""
    if len(raw) != trailer.footer_len or xxhash.xxh3_64_intdigest(raw) != trailer.footer_hash:
        raise ContainerCorrupt(f"{cid_text(cid)}: footer of {len(raw)} bytes at {trailer.footer_offset} fails its hash")
    return np.frombuffer(raw, FOOTER_DTYPE)


def scan(container: memoryview, cid: int, header_len: int) -> Footer:
    """The footer of a container that lost its own: every record whose header holds, in order.

    Slots count what was found, so behind a damaged record they are too low: readers compare fingerprints (a slot is a
    hint).
    """
    entries, position = [], header_len
    while position + HEADER_BYTES <= len(container):
        try:
            header = read_header(container[position:], f"{cid_text(cid)} at {position}")
        except (RecordCorrupt, FormatTooNew):
            position = _next_magic(container, position + 8)
            continue
        if position + HEADER_BYTES + header.stored_len > len(container):
            break
        entries.append(
            _ENTRY.pack(
                header.fingerprint,
                position,
                header.stored_len,
                header.plain_len,
                header.type,
                header.codec,
                header.seal,
                0,
            )
        )
        position += header.record_len
    return np.frombuffer(b"".join(entries), FOOTER_DTYPE)


def _next_magic(container: memoryview, position: int) -> int:
    """The next multiple of 8 at which a record may begin; the container's end when there is none."""
    raw = (
        container.obj if isinstance(container.obj, bytes) and len(container.obj) == len(container) else bytes(container)
    )
    while (position := raw.find(MAGIC, position)) >= 0:
        if position % 8 == 0:
            return position
        position += 1
    return len(container)
