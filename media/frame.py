"""The frame of every small object: magic, kind, repository, body, signature (docs/format.md, section 7)."""

from __future__ import annotations

import enum
import hmac
import json
import struct
from typing import Any

from media.faults import FormatTooNew, ObjectCorrupt, ObjectForeign, RepositoryTampered
from media.keys import PoolKeys

FORMAT = 1
MAGIC = b"INGOTOBJ"
_HEADER = struct.Struct("<8sHH16sI")
_HMAC_BYTES = 32


class Kind(enum.IntEnum):
    """What a frame holds. Numbers 7 to 11 are reserved for collection."""

    SESSION = 1
    HEARTBEAT = 2
    REGISTER = 3
    DETAIL = 4
    MARK = 5
    EXPIRY = 6


def encode(keys: PoolKeys, kind: Kind, name: str, body: bytes) -> bytes:
    """The object to be put under `name`."""
    header = _HEADER.pack(MAGIC, kind, FORMAT, keys.repository.bytes, len(body))
    return header + body + keys.sign(name, header, body)


def decode(keys: PoolKeys, kind: Kind, name: str, frame: bytes) -> bytes:
    """The body of the object that lies under `name`.

    Raises ObjectCorrupt, ObjectForeign, FormatTooNew, or RepositoryTampered when all is in shape but the signature is
    not ours.
    """
    if len(frame) < _HEADER.size + _HMAC_BYTES:
        raise ObjectCorrupt(f"{name}: {len(frame)} bytes, expected at least {_HEADER.size + _HMAC_BYTES}")
    magic, found_kind, version, repository, length = _HEADER.unpack_from(frame)
    if magic != MAGIC:
        raise ObjectCorrupt(f"{name}: magic {magic!r} at 0, expected {MAGIC!r}")
    if version > FORMAT:
        raise FormatTooNew(f"{name}: format {version}, this build reads {FORMAT}")
    if repository != keys.repository.bytes:
        raise ObjectForeign(f"{name}: of repository {repository.hex()}, expected {keys.repository.hex}")
    if len(frame) != _HEADER.size + length + _HMAC_BYTES:
        raise ObjectCorrupt(f"{name}: {len(frame)} bytes, expected {_HEADER.size + length + _HMAC_BYTES}")
    body = frame[_HEADER.size : -_HMAC_BYTES]
    if not hmac.compare_digest(frame[-_HMAC_BYTES:], keys.sign(name, frame[: _HEADER.size], body)):
        raise RepositoryTampered(f"{name}: its signature is not by this repository's key, or not for this name")
    if found_kind != kind:
        raise ObjectCorrupt(f"{name}: frame of kind {found_kind}, expected {kind:d} ({kind.name.lower()})")
    return body


def encode_json(keys: PoolKeys, kind: Kind, name: str, body: dict[str, Any]) -> bytes:
    """A frame whose body is JSON."""
    return encode(keys, kind, name, json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def decode_json(keys: PoolKeys, kind: Kind, name: str, frame: bytes) -> dict[str, Any]:
    """The JSON body of a frame. Raises as `decode` does."""
    body = decode(keys, kind, name, frame)
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ObjectCorrupt(f"{name}: its body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ObjectCorrupt(f"{name}: its body is {type(value).__name__}, expected a JSON object")
    return value
