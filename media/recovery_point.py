"""Recovery points: the register that a session ends in, and the detail (docs/format.md, section 7).

Only a session whose register says `commit`, and that has not expired, is a recovery point. Order is by session number.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zstandard

from media import frame
from media.faults import DamageFault, ObjectCorrupt, ObjectMissing, PointMissing, RecordCorrupt
from media.frame import Kind
from media.ids import EXPIRIES, REGISTERS, detail_name, register_name, sid_of_name, sid_text
from media.keys import SealingKey, decode_key_table, encode_key_table
from media.page import PageRef
from media.pool import Pool
from media.record import Codec, Type, read_record, stored_size, write_record
from media.tree import Root
from runtime.tasks import ahead

JSON = dict[str, Any]
_REGISTERS_AHEAD = 32


@dataclass(frozen=True)
class Machine:
    """Whose point it is. For disk images, id and name are the same."""

    id: str
    name: str


@dataclass(frozen=True)
class DiskTree:
    """One disk of a recovery point."""

    disk: int
    key: str
    size: int
    data_bytes: int
    average_chunk_bytes: int
    chunking_key: str
    chunker: str
    root: Root
    change_id: str | None = None
    proof: JSON | None = None  # `media.proof`: of what was said to be unchanged

    def resumable_in(self, pool: Pool) -> bool:
        """Whether the pool cuts as this disk was cut."""
        ours = (pool.parameters.chunker, pool.parameters.average_chunk_bytes, pool.keys.chunking_key_id)
        return (self.chunker, self.average_chunk_bytes, self.chunking_key) == ours


@dataclass(frozen=True)
class Commit:
    """What the register of a recovery point says."""

    sid: int
    machine: Machine
    parent: int | None
    time: str
    detail: bytes

    @property
    def id(self) -> str:
        return sid_text(self.sid)


@dataclass(frozen=True)
class RecoveryPoint:
    """A restorable moment of one machine, in full."""

    sid: int
    machine: Machine
    parent: int | None
    time: str
    disks: list[DiskTree]
    description: JSON
    statistics: JSON

    @property
    def id(self) -> str:
        return sid_text(self.sid)


def encode_detail(pool: Pool, point: RecoveryPoint, key: SealingKey) -> tuple[bytes, bytes]:
    """The object that holds `point`, and the fingerprint by which its register names it."""
    plain = json.dumps(detail_json(point), sort_keys=True, separators=(",", ":")).encode()
    fingerprint = hmac.digest(pool.keys.page, plain, hashlib.sha256)
    content = zstandard.ZstdCompressor(level=3).compress(plain)
    table = encode_key_table(key)
    body = bytearray(len(table) + stored_size(len(content)))
    body[: len(table)] = table
    write_record(memoryview(body)[len(table) :], Type.DESCRIPTION, Codec.ZSTD, content, len(plain), fingerprint, key)
    return frame.encode(pool.keys, Kind.DETAIL, detail_name(point.sid), bytes(body)), fingerprint


def detail_json(point: RecoveryPoint) -> JSON:
    """What the detail says."""
    return {
        "machine": {"id": point.machine.id, "name": point.machine.name},
        "parent": None if point.parent is None else sid_text(point.parent),
        "time": point.time,
        "disks": [_disk_json(disk) for disk in point.disks],
        "description": point.description,
        "statistics": point.statistics,
    }


def _disk_json(disk: DiskTree) -> JSON:
    ref = disk.root.ref
    said = {
        "disk": disk.disk,
        "key": disk.key,
        "size": disk.size,
        "data_bytes": disk.data_bytes,
        "chunker": disk.chunker,
        "average_chunk_bytes": disk.average_chunk_bytes,
        "chunking_key": disk.chunking_key,
        "depth": disk.root.depth,
        "root": None if ref is None else {"page": ref.fingerprint.hex(), "cid": f"{ref.cid:016x}", "slot": ref.slot},
        "change_id": disk.change_id,
    }
    return said if disk.proof is None else {**said, "proof": disk.proof}


def _disk_of(value: JSON) -> DiskTree:
    root = value["root"]
    ref = None if root is None else PageRef(bytes.fromhex(root["page"]), int(root["cid"], 16), int(root["slot"]))
    return DiskTree(
        disk=int(value["disk"]),
        key=str(value["key"]),
        size=int(value["size"]),
        data_bytes=int(value["data_bytes"]),
        average_chunk_bytes=int(value["average_chunk_bytes"]),
        chunking_key=str(value["chunking_key"]),
        chunker=str(value["chunker"]),
        root=Root(int(value["depth"]), ref),
        change_id=value["change_id"],
        proof=value.get("proof"),
    )


def read_commit(pool: Pool, sid: int) -> Commit | None:
    """What the register of session `sid` says; None when it has not ended, or ended without a commit.

    Raises DamageFault, ObjectUnreadable included.
    """
    name = register_name(sid)
    try:
        register = frame.decode_json(pool.keys, Kind.REGISTER, name, pool.repository.get(name))
    except ObjectMissing:
        return None
    try:
        if register["kind"] != "commit":
            return None
        machine = Machine(str(register["machine"]["id"]), str(register["machine"]["name"]))
        parent = None if register["parent"] is None else int(register["parent"], 16)
        return Commit(sid, machine, parent, str(register["time"]), bytes.fromhex(register["detail"]))
    except (KeyError, ValueError, TypeError) as error:
        raise ObjectCorrupt(f"{name}: expected a register, found {error!r}") from error


def read_point(pool: Pool, commit: Commit) -> RecoveryPoint:
    """The detail of a committed point. Raises any DamageFault, ObjectMissing included as ObjectCorrupt."""
    name = detail_name(commit.sid)
    try:
        body = memoryview(frame.decode(pool.keys, Kind.DETAIL, name, pool.repository.get(name)))
        wrapped, table_len = decode_key_table(body)
        _, plain = read_record(
            body[table_len:],
            name,
            lambda key_id: pool.keys.data_key(key_id, wrapped),
            zstandard.ZstdDecompressor(),
            sealed_pool=pool.parameters.encrypted,
        )
        if hmac.digest(pool.keys.page, plain, hashlib.sha256) != commit.detail:
            raise RecordCorrupt(f"{name}: not the detail {commit.detail.hex()[:16]} that its register names")
        return point_of(commit.sid, json.loads(plain))
    except ObjectMissing:
        raise ObjectCorrupt(f"{name}: expected the detail of recovery point {commit.id}, found nothing") from None
    except (KeyError, ValueError, TypeError) as error:
        raise ObjectCorrupt(f"{name}: expected a recovery point's detail, found {error!r}") from error


def point_of(sid: int, detail: JSON) -> RecoveryPoint:
    """The point that a detail describes. Raises KeyError, ValueError or TypeError for what is none."""
    return RecoveryPoint(
        sid=sid,
        machine=Machine(str(detail["machine"]["id"]), str(detail["machine"]["name"])),
        parent=None if detail["parent"] is None else int(detail["parent"], 16),
        time=str(detail["time"]),
        disks=[_disk_of(disk) for disk in detail["disks"]],
        description=detail["description"],
        statistics=detail["statistics"],
    )


def expired_sids(pool: Pool) -> set[int]:
    """The points that have expired."""
    return set(_sids(pool, EXPIRIES))


def _sids(pool: Pool, prefix: str) -> Iterator[int]:
    for entry in pool.repository.list(prefix):
        sid = sid_of_name(entry.name, prefix)
        if sid is not None:
            yield sid


@dataclass(frozen=True)
class Points:
    """The recovery points of a repository, oldest first, and what of its registers could not be read."""

    commits: list[Commit]
    damaged: dict[int, DamageFault]

    def newest_of(self, machine_id: str) -> Commit | None:
        """The newest point of a machine."""
        return next((c for c in reversed(self.commits) if c.machine.id == machine_id), None)

    def find(self, text: str) -> Commit:
        """The point that a person means: an id, also without leading zeros, `latest`, or `latest:MACHINE`.

        Raises PointMissing, or the damage of the register that was asked for.
        """
        if text == "latest" or text.startswith("latest:"):
            name = text.partition(":")[2]
            for commit in reversed(self.commits):
                if not name or name in (commit.machine.id, commit.machine.name):
                    return commit
            raise PointMissing(f"{text}: no recovery point{f' of machine {name}' if name else ''} is there")
        try:
            sid = int(text, 16)
        except ValueError:
            raise PointMissing(f"{text}: expected the id of a recovery point, `latest` or `latest:MACHINE`") from None
        if sid in self.damaged:
            raise self.damaged[sid]
        for commit in self.commits:
            if commit.sid == sid:
                return commit
        newest = f"; the newest is {self.commits[-1].id}" if self.commits else "; there is none at all"
        raise PointMissing(f"{text}: no such recovery point{newest}")


def list_points(pool: Pool) -> Points:
    """Every recovery point that has not expired. A list that fails raises.

    A register that is damaged, or that alone cannot be read, is told, not hidden.

    A point whose detail is there but whose register is lost cannot be told from a session that never committed, and
    is not listed.
    """
    expired = expired_sids(pool)
    commits: list[Commit] = []
    damaged: dict[int, DamageFault] = {}

    def read(sid: int) -> Commit | DamageFault | None:
        try:
            return read_commit(pool, sid)
        except DamageFault as fault:
            return fault

    for sid, found in ahead(_REGISTERS_AHEAD, (sid for sid in _sids(pool, REGISTERS) if sid not in expired), read):
        if isinstance(found, DamageFault):
            damaged[sid] = found
        elif found is not None:
            commits.append(found)
    return Points(commits, damaged)
