"""A record: one chunk or page as it is stored (docs/format.md, section 4).

Order of writing: fingerprint, compress, seal. The container is not in the authenticated data, so a record can be copied
elsewhere byte for byte without keys (I10).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xxhash
import zstandard
from numpy.typing import NDArray

from media.faults import FormatTooNew, RecordCorrupt, RecordUnsealed
from media.keys import TAG_BYTES, SealingKey, TagWrong

MAGIC = b"IREC"
HEADER_BYTES = 72
MAX_PLAIN_BYTES = 8 << 20  # far above any chunk (1 MiB) or page (0.4 MiB): a bound before memory is taken
_BOUND_BYTES = 56  # what the seal authenticates: the header without nonce and check
_HEADER = struct.Struct("<4sBBBBII32sQ12s")
_CHECK = struct.Struct("<I")
HEADER_DTYPE = np.dtype(
    [
        ("magic", "S4"),
        ("type", "u1"),
        ("codec", "u1"),
        ("seal", "u1"),
        ("flags", "u1"),
        ("plain_len", "<u4"),
        ("stored_len", "<u4"),
        ("fingerprint", "u1", 32),
        ("key_id", "<u8"),
        ("nonce", "V12"),
        ("check", "<u4"),
    ]
)
assert HEADER_DTYPE.itemsize == HEADER_BYTES
_ROW = np.arange(HEADER_BYTES)


class Type(enum.IntEnum):
    CHUNK = 1
    PAGE = 2
    DESCRIPTION = 3


class Codec(enum.IntEnum):
    RAW = 0
    ZSTD = 1


class Header(NamedTuple):
    """The first 72 bytes, decoded; lengths in bytes, `stored_len` with the 16 bytes of tag or hash."""

    magic: bytes
    type: int
    codec: int
    seal: int
    flags: int
    plain_len: int
    stored_len: int
    fingerprint: bytes
    key_id: int
    nonce: bytes

    @property
    def record_len(self) -> int:
        """From this header to the next: header, payload and padding."""
        return padded(HEADER_BYTES + self.stored_len)


def padded(length: int) -> int:
    """`length` rounded up to 8."""
    return -(-length // 8) * 8


def stored_size(content_len: int) -> int:
    """Bytes that a record with `content_len` bytes of content (compressed or raw) takes in a container."""
    return padded(HEADER_BYTES + content_len + TAG_BYTES)


def write_record(
    out: memoryview,
    type_: Type,
    codec: Codec,
    content: bytes | memoryview,
    plain_len: int,
    fingerprint: bytes,
    key: SealingKey,
) -> int:
    """Write a record at the start of `out` and return its length, padding included."""
    stored_len = len(content) + TAG_BYTES
    nonce = key.nonce()
    header = _HEADER.pack(MAGIC, type_, codec, key.seal, 0, plain_len, stored_len, fingerprint, key.key_id, nonce)
    payload_end = HEADER_BYTES + stored_len
    end = padded(payload_end)
    out[: len(header)] = header
    out[len(header) : HEADER_BYTES] = _check(header)
    key.seal_into(nonce, content, header[:_BOUND_BYTES], out[HEADER_BYTES:payload_end])
    out[payload_end:end] = bytes(end - payload_end)
    return end


def _check(header: bytes) -> bytes:
    return _CHECK.pack(xxhash.xxh3_64_intdigest(header) & 0xFFFFFFFF)


def read_header(buffer: memoryview, where: object) -> Header:
    """Decode the header at the start of `buffer`. Raises RecordCorrupt or FormatTooNew, which name `where`."""
    if len(buffer) < HEADER_BYTES:
        raise RecordCorrupt(f"{where}: {len(buffer)} of {HEADER_BYTES} bytes of a record's header")
    raw = bytes(buffer[: _HEADER.size])
    header = Header._make(_HEADER.unpack(raw))
    if header.magic != MAGIC:
        raise RecordCorrupt(f"{where}: magic {header.magic!r}, expected {MAGIC!r}")
    if _check(raw) != bytes(buffer[_HEADER.size : HEADER_BYTES]):
        raise RecordCorrupt(f"{where}: header fails its check")
    if header.flags or header.codec > Codec.ZSTD or header.seal > 1:
        raise FormatTooNew(
            f"{where}: codec {header.codec}, seal {header.seal}, flags {header.flags}: this build reads 0-1, 0-1, 0"
        )
    if header.plain_len > MAX_PLAIN_BYTES or not TAG_BYTES <= header.stored_len <= MAX_PLAIN_BYTES + TAG_BYTES:
        raise RecordCorrupt(f"{where}: {header.plain_len} plain bytes stored as {header.stored_len}: out of bounds")
    return header


def headers_at(buffer: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[Any]:
    """The headers at `starts` as HEADER_DTYPE, all of them inside `buffer`; nothing about them is checked."""
    headers: NDArray[Any] = buffer[starts[:, None] + _ROW].view(HEADER_DTYPE)[:, 0]
    return headers


KeyFinder = Callable[[int], SealingKey | None]


def open_checked(
    header: bytes,
    codec: int,
    payload: memoryview,
    key: SealingKey,
    decompressor: zstandard.ZstdDecompressor,
    scratch: memoryview,
    out: memoryview,
) -> bool:
    """Whether the record opened into `out`, which has its plain length.

    The fast way for a header whose fields are known to be what was expected: nothing is taken from the heap, nothing
    copied, and it does not say why not. Who wants to know calls `read_record`. `scratch` has room for the payload.
    """
    if _CHECK.pack(xxhash.xxh3_64_intdigest(header[: _HEADER.size]) & 0xFFFFFFFF) != header[_HEADER.size :]:
        return False
    nonce, bound = header[_BOUND_BYTES : _HEADER.size], header[:_BOUND_BYTES]
    content_len = len(payload) - TAG_BYTES
    try:
        if codec == Codec.RAW:
            if content_len != len(out):
                return False
            key.open_into(nonce, payload, bound, out)
            return True
        content = scratch[:content_len]
        key.open_into(nonce, payload, bound, content)
    except TagWrong:
        return False
    return expand_into(codec, content, decompressor, out)


def unseal_record(buffer: memoryview, where: object, find_key: KeyFinder, *, sealed_pool: bool) -> tuple[Header, bytes]:
    """The header and the content, still compressed, of the record at the start of `buffer`: its tag (or hash) is right.

    Raises RecordCorrupt, RecordUnsealed or FormatTooNew, which name `where`.
    """
    header = read_header(buffer, where)
    payload = buffer[HEADER_BYTES : HEADER_BYTES + header.stored_len]
    if len(payload) < header.stored_len:
        raise RecordCorrupt(f"{where}: {len(payload)} of {header.stored_len} bytes of the payload")
    if sealed_pool and not header.seal:
        raise RecordUnsealed(f"{where}: not sealed; this repository's encryption is on")
    key = find_key(header.key_id)
    if key is None or key.seal != header.seal:
        raise RecordCorrupt(f"{where}: no key {header.key_id:016x} for seal {header.seal} in the container's key table")
    try:
        return header, key.open(header.nonce, payload, bytes(buffer[:_BOUND_BYTES]))
    except TagWrong:
        raise RecordCorrupt(
            f"{where}: {header.stored_len} bytes fail their {'tag' if header.seal else 'hash'}"
        ) from None


def expand_into(
    codec: int, content: bytes | memoryview, decompressor: zstandard.ZstdDecompressor, out: memoryview
) -> bool:
    """Whether `content` is exactly the plain bytes that fill `out`."""
    try:
        if codec == Codec.RAW:
            if len(content) != len(out):
                return False
            out[:] = content
            return True
        if zstandard.frame_content_size(content) != len(out):
            return False
        return decompressor.stream_reader(content, read_size=len(content)).readinto(out) == len(out)
    except zstandard.ZstdError:
        return False


def read_record(
    buffer: memoryview,
    where: object,
    find_key: KeyFinder,
    decompressor: zstandard.ZstdDecompressor,
    *,
    sealed_pool: bool,
) -> tuple[Header, bytes]:
    """The header and the plain bytes of the record at the start of `buffer`.

    Tag (or hash), bounds and plain length are checked here; **the fingerprint is checked by the caller**, who has a
    batch of them. Raises RecordCorrupt, RecordUnsealed or FormatTooNew, which name `where`.
    """
    header, content = unseal_record(buffer, where, find_key, sealed_pool=sealed_pool)
    plain = content
    if header.codec == Codec.ZSTD:
        try:
            if zstandard.frame_content_size(content) != header.plain_len:  # before memory is taken for what it claims
                raise RecordCorrupt(f"{where}: its zstd frame is not of {header.plain_len} bytes")
            plain = decompressor.decompress(content, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise RecordCorrupt(f"{where}: does not decompress to {header.plain_len} bytes: {error}") from error
    if len(plain) != header.plain_len:
        raise RecordCorrupt(f"{where}: {len(plain)} plain bytes, expected {header.plain_len}")
    return header, plain
