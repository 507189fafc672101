"""A pool: a repository with its parameters and keys (docs/format.md, sections 2 and 3).

`create_pool` makes one where nothing lies; `open_pool` opens what is there. Nothing else creates a repository.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from media.faults import (
    FormatTooNew,
    KeyUnfit,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    RepositoryExists,
    RepositoryMissing,
    RepositoryTampered,
)
from media.ids import CONFIG, KEYS, PROBES, RESTORE
from media.key_slots import NoSecret, Secret, list_slots, open_slots, put_slot
from media.keys import KEY_BYTES, PoolKeys
from media.repository import Repository
from runtime.clock import Clock

FORMAT = 1
CHUNKER = "s512/1"
SEGMENT_BYTES = 32 << 20
CONTAINER_BYTES = 32 << 20
AVERAGE_CHUNK_BYTES = 64 << 10
AVERAGES_BYTES = (64 << 10, 128 << 10, 256 << 10, 512 << 10)  # what people may choose

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Parameters:
    """Fixed for ever when the pool is created."""

    average_chunk_bytes: int = AVERAGE_CHUNK_BYTES
    container_bytes: int = CONTAINER_BYTES
    segment_bytes: int = SEGMENT_BYTES
    encrypted: bool = True
    chunker: str = CHUNKER

    def to_json(self) -> dict[str, Any]:
        return {
            "average_chunk_bytes": self.average_chunk_bytes,
            "chunker": self.chunker,
            "container_bytes": self.container_bytes,
            "encryption": "aes-256-gcm" if self.encrypted else "none",
            "segment_bytes": self.segment_bytes,
        }

    @staticmethod
    def from_json(pool: dict[str, Any]) -> Parameters:
        if pool["chunker"] != CHUNKER or pool["encryption"] not in ("aes-256-gcm", "none"):
            raise FormatTooNew(
                f"{CONFIG}: chunker {pool['chunker']!r}, encryption {pool['encryption']!r} are not known to this build"
            )
        encrypted = pool["encryption"] != "none"
        numbers = (pool["average_chunk_bytes"], pool["container_bytes"], pool["segment_bytes"])
        if not all(isinstance(number, int) and 4096 <= number <= 1 << 30 for number in numbers):
            raise ValueError(f"pool sizes {numbers}")
        return Parameters(*numbers, encrypted, pool["chunker"])


@dataclass(frozen=True)
class Pool:
    """An open pool. Who has it can read and write everything in it."""

    repository: Repository
    parameters: Parameters
    keys: PoolKeys
    created_at: str

    @property
    def id(self) -> uuid.UUID:
        return self.keys.repository


def create_pool(
    repository: Repository,
    secret: Secret,
    parameters: Parameters,
    clock: Clock,
    abilities: dict[str, str] | None = None,
) -> Pool:
    """Make a repository in an empty place. Raises RepositoryExists, also for the loser of two at once.

    The key slot comes first and `ingot.json` last: the place is a repository from the moment one can open it. What an
    interrupted `init` left (slots and RESTORE/ without ingot.json) does not stand in the way of the next. `abilities`
    are what a probe of the place found: kept for people, and trusted by nobody.
    """
    if parameters.encrypted == isinstance(secret, NoSecret):
        raise KeyUnfit("a secret is for an encrypted repository, and an encrypted repository needs one")
    for entry in repository.list(""):
        if entry.name == CONFIG:
            raise RepositoryExists(f"{repository.url}: a repository is there already")
        if not entry.name.startswith((KEYS, RESTORE, PROBES)):
            raise RepositoryExists(f"{repository.url}: expected an empty place, found {entry.name}")
    keys = PoolKeys(uuid.uuid4(), os.urandom(KEY_BYTES), parameters.encrypted)
    now = clock.now()
    slot = put_slot(repository, keys.repository, secret, keys.master, now)
    config = {
        "created_at": now,
        "format": FORMAT,
        "pool": parameters.to_json(),
        "recovery_program_sha256": _put_recovery_program(repository),
        "repository": str(keys.repository),
        **({} if abilities is None else {"abilities": abilities}),
    }
    body = json.dumps({**config, "hmac": keys.sign(CONFIG, canonical(config)).hex()}, indent=1, sort_keys=True).encode()
    try:
        repository.put_new(CONFIG, body)
    except ObjectExists:
        if repository.get(CONFIG) != body:
            repository.delete(slot)
            raise RepositoryExists(f"{repository.url}: another init was first") from None
    return Pool(repository, parameters, keys, now)


def _put_recovery_program(repository: Repository) -> str:
    """Copy recover.py and the format's description to RESTORE/; the SHA-256 of the program."""
    program = (_HERE / "recover.py").read_bytes()
    for name, body in (("recover.py", program), ("format.md", (_HERE / "format.md").read_bytes())):
        try:
            repository.put_new(RESTORE + name, body)
        except ObjectExists:
            if repository.get(RESTORE + name) != body:
                raise RepositoryExists(
                    f"{repository.url}: expected an empty place, found another {RESTORE}{name}"
                ) from None
    return hashlib.sha256(program).hexdigest()


def canonical(value: dict[str, Any]) -> bytes:
    """The one way to write a JSON object of strings, integers and objects that signatures cover."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def open_pool(repository: Repository, secret: Secret) -> Pool:
    """Open the repository that lies here.

    Raises RepositoryMissing, ObjectCorrupt, FormatTooNew, RepositoryTampered, or what `open_slots` raises when no
    slot opens.
    """
    try:
        raw = repository.get(CONFIG)
    except ObjectMissing:
        raise RepositoryMissing(
            f"{repository.url}: expected a repository, found no {CONFIG}; `ingot init` makes one"
        ) from None
    try:
        config = json.loads(raw)
        if config["format"] > FORMAT:
            raise FormatTooNew(f"{CONFIG}: format {config['format']}, this build reads {FORMAT}")
        parameters = Parameters.from_json(config["pool"])
        repository_id = uuid.UUID(config["repository"])
        signature = bytes.fromhex(config.pop("hmac"))
        created_at = str(config["created_at"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ObjectCorrupt(f"{CONFIG}: expected a repository's parameters, found something else: {error!r}") from error
    if not parameters.encrypted and not isinstance(secret, NoSecret):
        # Somebody who can write there may have put an open repository in the place of theirs, to be sent plain data.
        raise KeyUnfit(f"{repository.url}: expected an encrypted repository, as a secret was given; found an open one")
    for master in open_slots(repository, secret):
        keys = PoolKeys(repository_id, master, parameters.encrypted)
        if hmac.compare_digest(keys.sign(CONFIG, canonical(config)), signature):
            return Pool(repository, parameters, keys, created_at)
    raise RepositoryTampered(f"{CONFIG}: a key slot opens, but the parameters are not the ones that its key signed")


def add_slot(pool: Pool, secret: Secret, clock: Clock) -> str:
    """One more secret that opens the pool. The new slot's object name."""
    if not pool.parameters.encrypted:
        raise KeyUnfit(f"{pool.repository.url}: not encrypted; it has no key to wrap")
    return put_slot(pool.repository, pool.id, secret, pool.keys.master, clock.now())


def remove_slot(pool: Pool, name: str) -> None:
    """Delete a key slot, never the last that can open this pool. Raises KeyUnfit."""
    slots = list_slots(pool.repository)
    if name not in (slot.name for slot in slots):
        raise KeyUnfit(f"{name}: no such key slot; there are {', '.join(slot.name for slot in slots)}")
    body = pool.repository.get(name)
    if _opens_without(pool, name):
        pool.repository.delete(name)
        if _opens_without(pool, name):
            return
        pool.repository.put_new(name, body)  # somebody removed the other one at the same time
    raise KeyUnfit(f"{name}: the last key slot; without one nothing opens this repository")


def _opens_without(pool: Pool, name: str) -> bool:
    slots = list_slots(pool.repository)
    return any(s.name != name and s.kind != "damaged" and s.repository == str(pool.id) for s in slots)
