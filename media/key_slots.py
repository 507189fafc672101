"""Key slots: each wraps the pool's master by one secret that a person or a machine holds (docs/format.md, section 3).

Losing every slot, or every secret, loses the data: nothing else opens it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from media.faults import FormatTooNew, KeyNeeded, KeyUnfit, KeyWrong, ObjectCorrupt, ObjectMissing, ObjectUnreadable
from media.ids import KEYS, slot_name
from media.keys import KEY_BYTES, hkdf, normal_passphrase
from media.repository import Repository

SALT_BYTES = 16
SCRYPT = {"name": "scrypt", "n": 1 << 17, "r": 8, "p": 1}  # 128 MiB; 0.35 s on the machines this was tuned on
_SCRYPT_MEMORY_BYTES = 1 << 30
_PBKDF2_ITERATIONS = 10**8


class Secret(Protocol):
    """What opens one kind of slot."""

    @property
    def kind(self) -> str:
        """The kind of slot that it opens."""

    def new_slot(self, master: bytes) -> dict[str, Any]:
        """The members that a new slot of this kind adds."""

    def open_slot(self, slot: dict[str, Any]) -> bytes | None:
        """The master; None when this secret does not open the slot.

        Raises KeyError, TypeError or ValueError for no slot.
        """


@dataclass(frozen=True)
class Passphrase:
    """A person's secret. `text` as typed or read from a file."""

    text: str = field(repr=False)
    kdf: dict[str, Any] = field(default_factory=lambda: dict(SCRYPT))
    kind = "passphrase"

    def __post_init__(self) -> None:
        try:
            empty = not normal_passphrase(self.text)
        except UnicodeEncodeError:
            raise KeyUnfit("passphrase: expected text in UTF-8, found bytes that are none") from None
        if empty:
            raise KeyUnfit("passphrase: empty; expected at least one character")

    def new_slot(self, master: bytes) -> dict[str, Any]:
        kdf = {**self.kdf, "salt": os.urandom(SALT_BYTES).hex()}
        return {"kdf": kdf, "wrapped_master": aes_key_wrap(self._stretch(kdf), master).hex()}

    def open_slot(self, slot: dict[str, Any]) -> bytes | None:
        return _unwrap(self._stretch(slot["kdf"]), slot)

    def _stretch(self, kdf: dict[str, Any]) -> bytes:
        salt, secret = bytes.fromhex(kdf["salt"]), normal_passphrase(self.text)
        if kdf["name"] == "scrypt":
            n, r, p = int(kdf["n"]), int(kdf["r"]), int(kdf["p"])
            if not (
                1 < n <= 1 << 20
                and n & (n - 1) == 0
                and 0 < r <= 32
                and 0 < p <= 16
                and 128 * n * r <= _SCRYPT_MEMORY_BYTES
            ):
                raise ValueError(f"scrypt n={n} r={r} p={p} is out of bounds")
            return Scrypt(salt=salt, length=KEY_BYTES, n=n, r=r, p=p).derive(secret)
        if kdf["name"] == "pbkdf2-hmac-sha256":
            iterations = int(kdf["iterations"])
            if not 0 < iterations <= _PBKDF2_ITERATIONS:
                raise ValueError(f"{iterations} iterations are out of bounds")
            return PBKDF2HMAC(hashes.SHA256(), length=KEY_BYTES, salt=salt, iterations=iterations).derive(secret)
        raise FormatTooNew(f"key slot: key derivation {kdf['name']!r}, expected scrypt or pbkdf2-hmac-sha256")


@dataclass(frozen=True)
class KeyFile:
    """A machine's secret: the text of a key file, 64 hexadecimal digits."""

    text: str = field(repr=False)
    kind = "key file"

    def __post_init__(self) -> None:
        try:
            key = bytes.fromhex(self.text.strip())
        except ValueError:
            raise KeyUnfit("key file: expected 64 hexadecimal digits, found something else") from None
        if len(key) != KEY_BYTES:
            raise KeyUnfit(f"key file: expected 64 hexadecimal digits, found {2 * len(key)}")

    @staticmethod
    def generate() -> str:
        """The text of a new key file."""
        return os.urandom(KEY_BYTES).hex() + "\n"

    def new_slot(self, master: bytes) -> dict[str, Any]:
        salt = os.urandom(SALT_BYTES).hex()
        return {"salt": salt, "wrapped_master": aes_key_wrap(self._key(salt), master).hex()}

    def open_slot(self, slot: dict[str, Any]) -> bytes | None:
        return _unwrap(self._key(slot["salt"]), slot)

    def _key(self, salt: str) -> bytes:
        return hkdf(bytes.fromhex(self.text.strip()), b"ingot key file" + bytes.fromhex(salt))


@dataclass(frozen=True)
class NoSecret:
    """For a pool without encryption: its master lies open."""

    kind = "none"

    def new_slot(self, master: bytes) -> dict[str, Any]:
        return {"master": master.hex()}

    def open_slot(self, slot: dict[str, Any]) -> bytes | None:
        return bytes.fromhex(slot["master"])


def _unwrap(key: bytes, slot: dict[str, Any]) -> bytes | None:
    try:
        return aes_key_unwrap(key, bytes.fromhex(slot["wrapped_master"]))
    except InvalidUnwrap:
        return None


@dataclass(frozen=True)
class Slot:
    """One key slot as it lies on media."""

    name: str
    kind: str
    created_at: str
    repository: str  # not this one's where an interrupted `init` left it: then it opens nothing


def put_slot(repository: Repository, repository_id: uuid.UUID, secret: Secret, master: bytes, now: str) -> str:
    """Put a new slot that `secret` opens; durable on return. Its object name."""
    name = slot_name(os.urandom(16))
    slot = {
        "format": 1,
        "repository": str(repository_id),
        "kind": secret.kind,
        "created_at": now,
        **secret.new_slot(master),
    }
    repository.put_new(name, json.dumps(slot, sort_keys=True, indent=1).encode())
    return name


def _read(repository: Repository, name: str) -> dict[str, Any]:
    try:
        slot = json.loads(repository.get(name))
        if slot["format"] > 1:
            raise FormatTooNew(f"{name}: format {slot['format']}, this build reads 1")
        return {"created_at": "", **slot, "kind": str(slot["kind"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ObjectCorrupt(f"{name}: expected a key slot, found something else: {error}") from error


def list_slots(repository: Repository) -> list[Slot]:
    """Every slot that can be read, in order of name; damaged ones have the kind `damaged`."""
    slots = []
    for entry in repository.list(KEYS):
        try:
            found = _read(repository, entry.name)
            slots.append(Slot(entry.name, found["kind"], str(found["created_at"]), str(found.get("repository"))))
        except ObjectMissing:
            continue  # removed meanwhile
        except (ObjectCorrupt, ObjectUnreadable, FormatTooNew):
            slots.append(Slot(entry.name, "damaged", "", ""))
    return slots


def open_slots(repository: Repository, secret: Secret) -> Iterator[bytes]:
    """The masters that `secret` opens; more than one where an interrupted `init` left a slot behind.

    One damaged slot does not hide the others. When none opens, raises KeyNeeded (the pool needs a secret and none was
    given), the damage of a slot that might have, or KeyWrong.
    """
    tried, opened, damage, kinds = 0, 0, None, set()
    for entry in repository.list(KEYS):
        master = None
        try:
            slot = _read(repository, entry.name)
            kinds.add(slot["kind"])
            if slot["kind"] == secret.kind:
                tried += 1
                master = secret.open_slot(slot)
        except (ObjectCorrupt, ObjectUnreadable, FormatTooNew) as fault:
            damage = fault
        except ObjectMissing:
            continue  # removed meanwhile
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            damage = ObjectCorrupt(f"{entry.name}: expected a key slot of kind {secret.kind}, found {error}")
        if master is not None:
            opened += 1
            yield master
    if opened:
        return
    if damage is not None:
        raise damage
    if isinstance(secret, NoSecret) and kinds:
        raise KeyNeeded(
            f"{repository.url}: encrypted; expected a secret for one of its key slots: {', '.join(sorted(kinds))}"
        )
    if not tried:
        raise KeyWrong(
            f"{repository.url}: no key slot of kind {secret.kind}; found {', '.join(sorted(kinds)) or 'no slot at all'}"
        )
    raise KeyWrong(f"{repository.url}: this {secret.kind} opens none of {tried} key slots of its kind")
