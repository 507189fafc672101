"""The keys of a pool: one random master, what is derived from it, and data keys (docs/format.md, section 3).

Whoever holds `PoolKeys` can read and sign everything. Key slots, which wrap the master, are `media.key_slots`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import threading
import unicodedata
import uuid
from dataclasses import dataclass, field

import xxhash
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

KEY_BYTES = 32
TAG_BYTES = 16
NONCE_BYTES = 12
NO_KEY = 0
RECORDS_PER_DATA_KEY = 1 << 28  # random 96-bit nonces: a collision within one key stays below 2^-41

_TABLE = struct.Struct("<II")
_TABLE_ENTRY = struct.Struct("<QH")
_MAX_TABLE_KEYS = 1024


def hkdf(key: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA-256 with an empty salt (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(key)


def normal_passphrase(text: str) -> bytes:
    """What of a passphrase goes into the key derivation: NFC, without one trailing newline, UTF-8."""
    return unicodedata.normalize("NFC", text.removesuffix("\n")).encode()


class TagWrong(Exception):
    """Content does not open: its tag or hash does not match. The reader, who knows where it was, names the fault."""


class DataKey:
    """Seals and opens the payloads of records. Thread-safe; a session has one, or several one after another."""

    __slots__ = ("_gcm", "key", "key_id", "wrapped")

    seal = 1

    def __init__(self, key_id: int, key: bytes, wrapped: bytes) -> None:
        self.key_id = key_id
        self.key = key
        self.wrapped = wrapped
        self._gcm = AESGCM(key)

    def nonce(self) -> bytes:
        return os.urandom(NONCE_BYTES)

    def seal_into(self, nonce: bytes, content: bytes | memoryview, bound: bytes, out: memoryview) -> None:
        """Write ciphertext and tag, len(content) + 16 bytes, to `out`; `bound` is authenticated with it."""
        self._gcm.encrypt_into(nonce, content, bound, out)

    def open(self, nonce: bytes, payload: bytes | memoryview, bound: bytes) -> bytes:
        """The content of `payload`. Raises TagWrong."""
        try:
            return self._gcm.decrypt(nonce, payload, bound)
        except InvalidTag:
            raise TagWrong from None

    def open_into(self, nonce: bytes, payload: memoryview, bound: bytes, out: memoryview) -> None:
        """The same into `out`, which has the length of the content. Raises TagWrong."""
        try:
            self._gcm.decrypt_into(nonce, payload, bound, out)
        except InvalidTag:
            raise TagWrong from None


class NoDataKey:
    """The same for a pool without encryption: the content in the clear, XXH3-128 in place of the tag."""

    __slots__ = ()

    seal = 0
    key_id = NO_KEY
    wrapped = b""

    def nonce(self) -> bytes:
        return bytes(NONCE_BYTES)

    def seal_into(self, nonce: bytes, content: bytes | memoryview, bound: bytes, out: memoryview) -> None:  # noqa: ARG002 # one shape with DataKey
        size = len(content)
        out[:size] = content
        out[size:] = self._hash(content, bound)

    def open(self, nonce: bytes, payload: bytes | memoryview, bound: bytes) -> bytes:  # noqa: ARG002 # one shape with DataKey
        content = bytes(memoryview(payload)[:-TAG_BYTES])
        if self._hash(content, bound) != bytes(memoryview(payload)[-TAG_BYTES:]):
            raise TagWrong
        return content

    def open_into(self, nonce: bytes, payload: memoryview, bound: bytes, out: memoryview) -> None:  # noqa: ARG002 # one shape with DataKey
        content = payload[:-TAG_BYTES]
        if self._hash(content, bound) != payload[-TAG_BYTES:]:
            raise TagWrong
        out[:] = content

    @staticmethod
    def _hash(content: bytes | memoryview, bound: bytes) -> bytes:
        state = xxhash.xxh3_128(bound)
        state.update(content)
        return state.digest()


SealingKey = DataKey | NoDataKey


def encode_key_table(*keys: SealingKey) -> bytes:
    """The key table that lets a holder of the wrapping key open what `keys` sealed."""
    real = [key for key in keys if isinstance(key, DataKey)]
    table = _TABLE.pack(len(real), 0) + b"".join(_TABLE_ENTRY.pack(k.key_id, len(k.wrapped)) + k.wrapped for k in real)
    return table + bytes(-len(table) % 8)


def decode_key_table(buffer: memoryview) -> tuple[dict[int, bytes], int]:
    """Key id -> wrapped key, and the length of the table at the start of `buffer`.

    Raises ValueError for what is no table.
    """
    if len(buffer) < _TABLE.size:
        raise ValueError(f"key table: {len(buffer)} bytes, expected at least {_TABLE.size}")
    count, reserved = _TABLE.unpack_from(buffer)
    if count > _MAX_TABLE_KEYS or reserved:
        raise ValueError(f"key table: {count} keys, reserved {reserved}; expected at most {_MAX_TABLE_KEYS}, and 0")
    position, wrapped_by_id = _TABLE.size, {}
    for number in range(count):
        if position + _TABLE_ENTRY.size > len(buffer):
            raise ValueError(f"key table: ends within key {number} of {count}")
        key_id, length = _TABLE_ENTRY.unpack_from(buffer, position)
        position += _TABLE_ENTRY.size
        wrapped_by_id[key_id] = bytes(buffer[position : position + length])
        position += length
    position += -position % 8
    if position > len(buffer):
        raise ValueError(f"key table: {position} bytes, only {len(buffer)} are there")
    return wrapped_by_id, position


@dataclass(frozen=True)
class PoolKeys:
    """The master and its sub-keys."""

    repository: uuid.UUID
    master: bytes = field(repr=False)
    sealed: bool = True
    _opened: dict[int, DataKey] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def _sub_key(self, purpose: str) -> bytes:
        return hkdf(self.master, self.repository.bytes + purpose.encode())

    @property
    def chunking(self) -> bytes:
        return self._sub_key("chunking")

    @property
    def fingerprint(self) -> bytes:
        return self._sub_key("fingerprint")

    @property
    def page(self) -> bytes:
        return self._sub_key("page")

    @property
    def chunking_key_id(self) -> str:
        """Names the chunking key in a recovery point, so that a cut is only resumed with the key that made it."""
        return hmac.digest(self.chunking, b"ingot key id", hashlib.sha256)[:8].hex()

    def sign(self, name: str, *parts: bytes) -> bytes:
        """The signature of an object: bound to its name, so a copy under another name is refused."""
        state = hmac.new(self._sub_key("signing"), name.encode() + b"\0", hashlib.sha256)
        for part in parts:
            state.update(part)
        return state.digest()

    def new_data_key(self) -> SealingKey:
        """A key for one session's records."""
        if not self.sealed:
            return NoDataKey()
        key = os.urandom(KEY_BYTES)
        key_id = int.from_bytes(os.urandom(8), "little") or 1
        return DataKey(key_id, key, aes_key_wrap(self._sub_key("wrapping"), key))

    def data_key(self, key_id: int, table: dict[int, bytes]) -> SealingKey | None:
        """The key that `key_id` names, unwrapped from `table` when first met; None when the table does not hold it."""
        if key_id == NO_KEY:
            return NoDataKey()
        with self._lock:
            key = self._opened.get(key_id)
        if key is None and key_id in table:
            try:
                key = DataKey(key_id, aes_key_unwrap(self._sub_key("wrapping"), table[key_id]), table[key_id])
            except (InvalidUnwrap, ValueError):
                return None
            with self._lock:
                self._opened[key_id] = key
        return key
