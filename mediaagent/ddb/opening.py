"""An index is opened: is the place fit, is it ours, was it left cleanly, and is it whole.

`ddb.json` says whose it is: without it, or with another repository in it, nothing is mapped, changed or removed. What
is ours and wrong (another schema or engine, a check that failed, an error of LMDB's) is removed and started empty:
rebuilt, never repaired. Others that have the removed files open go on with them to their end.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from mediaagent.ddb import history
from mediaagent.ddb.directory import CACHES, prepare
from mediaagent.ddb.environment import ENGINE, Environment
from mediaagent.ddb.faults import DdbCorrupt, DdbForeign, DdbFull, DdbUnavailable
from mediaagent.ddb.occupancy import NO_SPACE, Occupancy, write_durably
from mediaagent.ddb.rows import SCHEMA
from mediaagent.ddb.structure import damage_in


class Limits(NamedTuple):
    """What an index may take. The times are for waiting only: nothing is safe or unsafe by them."""

    map_bytes: int = 1 << 40
    batch_keys: int = 50_000
    batch_seconds: float = 2.0
    pending_keys: int = 200_000
    patience_seconds: float = 60.0
    check_seconds: float = 120.0


def open_environment(directory: Path, repository_uuid: bytes, limits: Limits) -> tuple[Environment, list[str]]:
    """The environment in `directory`, made when it is not there, and why it was rebuilt if it was.

    Raises DdbForeign, DdbUnavailable, DdbFull; DdbCorrupt only when even an empty one does not open.
    """
    prepare(directory)
    occupancy = Occupancy(directory)
    try:
        with occupancy.guarded(limits.check_seconds + limits.patience_seconds):
            return _open_guarded(directory, _identity(repository_uuid), occupancy, limits)
    except OSError as error:
        kind = DdbFull if error.errno in NO_SPACE else DdbUnavailable
        raise kind(f"{directory}: {error.strerror}") from error


def discard(directory: Path, limits: Limits) -> None:
    """Remove an index that is ours, with the caches beside it; the next opening begins empty.

    Others that have it open go on with the removed files to their end. Raises DdbUnavailable.
    """
    try:
        with Occupancy(directory).guarded(limits.patience_seconds):
            _remove(directory, "")
            for cache in CACHES:
                shutil.rmtree(directory / cache, ignore_errors=True)
            (directory / history.FILE).unlink(missing_ok=True)  # after what it answers for
    except OSError as error:
        raise DdbUnavailable(f"{directory}: cannot be removed: {error.strerror}") from error


def _open_guarded(
    directory: Path, identity: bytes, occupancy: Occupancy, limits: Limits
) -> tuple[Environment, list[str]]:
    notes = []
    reason = _misfit(directory, identity)
    if not occupancy.occupied():
        if reason is None and (directory / "data.mdb").exists() and (doubt := occupancy.doubt()):
            damage = damage_in(directory, limits.check_seconds)
            reason = damage and f"{doubt}; {damage}"
        occupancy.forget_stale()
    if reason:
        notes.append(_remove(directory, reason))
    occupancy.enter()
    try:
        try:
            environment = _opened(directory, identity, occupancy, limits)
        except DdbCorrupt as fault:
            notes.append(_remove(directory, str(fault)))
            environment = _opened(directory, identity, occupancy, limits)
    except BaseException:
        occupancy.withdraw()
        raise
    return environment, notes


def _opened(directory: Path, identity: bytes, occupancy: Occupancy, limits: Limits) -> Environment:
    if not (directory / "ddb.json").exists():
        write_durably(directory / "ddb.json", identity)
    return Environment(
        directory, identity, occupancy, map_bytes=limits.map_bytes, patience_seconds=limits.patience_seconds
    )


def _identity(repository_uuid: bytes) -> bytes:
    members = {"engine": ENGINE, "repository": str(UUID(bytes=repository_uuid)), "schema": SCHEMA}
    return json.dumps(members, sort_keys=True).encode()


def _misfit(directory: Path, identity: bytes) -> str | None:
    """Why our own files cannot be used; None when they can or there are none. Raises DdbForeign."""
    try:
        found = (directory / "ddb.json").read_bytes()
    except FileNotFoundError:
        if (directory / "data.mdb").exists():
            raise DdbForeign(f"{directory}: data.mdb without ddb.json is not an index of ours") from None
        return None
    if found == identity:
        return None
    try:
        repository = json.loads(found)["repository"]
    except (ValueError, LookupError, TypeError):
        return "ddb.json is damaged"
    expected = json.loads(identity)["repository"]
    if repository != expected:
        raise DdbForeign(f"{directory}: index of another repository: expected {expected}, found {repository}")
    return f"made by another version: {found.decode(errors='replace')}"


def _remove(directory: Path, reason: str) -> str:
    for name in (
        "data.mdb",
        "lock.mdb",
        "ddb.json",
    ):  # ddb.json last: what it does not name is not ours to remove
        (directory / name).unlink(missing_ok=True)
    return f"{directory}: the index was rebuilt empty: {reason}"
