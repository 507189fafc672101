"""What `ingot doctor` finds out: this build, this machine, and a repository as a place. Needs no secret.

What is written tries what the place can do, and is taken away again: objects `probe-...`, and on a local disk a
file under `tmp/`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import ext.cut
import ext.fingerprint
from ext import selftest
from media.faults import ObjectMissing, RepositoryFault
from media.ids import CONFIG, CONTAINERS, KEYS, REGISTERS, RESTORE
from media.repository import Repository
from media.repository.locate import open_place, probe_place
from media.repository.posix import RealPosix
from mediaagent.ddb.directory import default_directory, filesystem_kind
from mediaagent.ddb.faults import DdbFault
from runtime.version import VERSION

LIBRARIES = ("boto3", "cryptography", "isal", "lmdb", "numpy", "rich", "typer", "xxhash", "zstandard")
_FSYNCS = 5


@dataclass
class Diagnosis:
    """Findings by subject, as `--json` has them; a problem is something to be done about."""

    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def diagnose(url: str | None, index: Path | None) -> Diagnosis:
    """Look at everything. Raises RepositoryFault for a URL that names no place."""
    diagnosis = Diagnosis()
    diagnosis.findings["build"] = _build()
    diagnosis.findings["machine"] = _machine()
    diagnosis.findings["kernels"] = _kernels(diagnosis)
    if url is not None:
        place = open_place(url)
        diagnosis.findings["repository"] = found = _repository(url, place, diagnosis)
        diagnosis.findings["index"] = _index(found.get("repository"), index, diagnosis)
    return diagnosis


def _build() -> dict[str, Any]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return {"ingot": VERSION, "python": platform.python_version(), **versions}


def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
    }


def _kernels(diagnosis: Diagnosis) -> dict[str, Any]:
    found: dict[str, Any] = {
        "cut": ext.cut.kernel(),
        "cut_variants": ext.cut.kernels(),
        "fingerprint": ext.fingerprint.kernel(),
        "fingerprint_variants": ext.fingerprint.kernels(),
        "self_test": "passed",
    }
    try:
        selftest.run()
    except selftest.SelfTestFailed as failure:
        found["self_test"] = str(failure)
        diagnosis.problems.append(f"self-test: {failure}; do not back up with this build on this machine")
    return found


def _repository(url: str, place: Repository, diagnosis: Diagnosis) -> dict[str, Any]:
    found: dict[str, Any] = {"url": place.url}
    root = Path(unquote(urlsplit(place.url).path)) if place.url.startswith("file:") else None
    if root is not None:
        found["file_system"] = _filesystem(root)
    try:
        raw = place.get(CONFIG)
        config = json.loads(raw)
        found |= {
            "repository": str(UUID(config["repository"])),
            "format": config["format"],
            "encryption": config["pool"]["encryption"],
            "average_chunk_bytes": config["pool"]["average_chunk_bytes"],
            "created_at": config["created_at"],
        }
    except ObjectMissing:
        diagnosis.problems.append(f"{place.url}: no repository: there is no {CONFIG}")
        return found
    except (RepositoryFault, ValueError, KeyError, TypeError) as error:
        diagnosis.problems.append(f"{place.url}: {CONFIG} cannot be read: {error}")
        return found
    found |= _contents(place)
    found["recovery_program"] = _recovery_program(place, config, diagnosis)
    found |= _probed(url, diagnosis)
    if root is not None:
        found |= _abilities(root / "tmp", diagnosis)
    if not found["key_slots"]:
        diagnosis.problems.append("no key slot: nothing opens this repository; `ingot key import` puts them back")
    return found


def _contents(place: Repository) -> dict[str, int]:
    containers = [entry.size for entry in place.list(CONTAINERS)]
    return {
        "key_slots": sum(1 for _ in place.list(KEYS)),
        "sessions_ended": sum(1 for _ in place.list(REGISTERS)),
        "containers": len(containers),
        "stored_bytes": sum(containers),
    }


def _recovery_program(place: Repository, config: dict[str, Any], diagnosis: Diagnosis) -> str:
    name = f"{RESTORE}recover.py"
    try:
        found = hashlib.sha256(place.get(name)).hexdigest()
    except ObjectMissing:
        diagnosis.problems.append(f"{name}: missing; a recovery without this program needs it")
        return "missing"
    if found != config.get("recovery_program_sha256"):
        diagnosis.problems.append(f"{name}: not the program that {CONFIG} names; do not give it a key")
        return "changed"
    return "as written"


def _probed(url: str, diagnosis: Diagnosis) -> dict[str, str]:
    try:
        return probe_place(url)
    except RepositoryFault as fault:
        diagnosis.problems.append(f"the place cannot be used as a repository: {fault}")
        return {}


def _abilities(directory: Path, diagnosis: Diagnosis) -> dict[str, Any]:
    """Hard links, and how long fsync takes: every container waits for one."""
    posix, name = RealPosix(), directory / f"doctor-{secrets.token_hex(8)}"
    linked = name.with_name(name.name + "-linked")
    found: dict[str, Any] = {}
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        fd = posix.create(name)
        try:
            posix.write(fd, bytes(4096))
            started = time.perf_counter()
            for _ in range(_FSYNCS):
                posix.write(fd, bytes(4096))
                posix.fsync(fd)
            found["fsync_seconds"] = round((time.perf_counter() - started) / _FSYNCS, 6)
        finally:
            os.close(fd)
        try:
            posix.link(name, linked)
            found["hard_links"] = True
        except OSError:
            posix.rename_new(name, linked)
            found["hard_links"] = False  # renaming without replacing does as well
        posix.fsync_directory(directory)
        space = os.statvfs(directory)
        found["free_bytes"] = space.f_bavail * space.f_frsize
    except OSError as error:
        diagnosis.problems.append(f"{directory}: cannot be written as a repository must be: {error.strerror}")
    finally:
        for path in (name, linked):
            path.unlink(missing_ok=True)
    return found


def _index(repository: str | None, directory: Path | None, diagnosis: Diagnosis) -> dict[str, Any]:
    if repository is None:
        return {"state": "not looked for"}
    try:
        place = directory or default_directory(UUID(repository).bytes)
    except DdbFault as fault:
        diagnosis.problems.append(str(fault))
        return {"state": "no place"}
    found: dict[str, Any] = {"directory": str(place), "file_system": _filesystem(place)}
    try:
        identity = json.loads((place / "ddb.json").read_bytes())
        found["bytes"] = (place / "data.mdb").stat().st_size
        found["state"] = "there" if (place / "clean").exists() else "in use, or not closed cleanly"
        if identity["repository"] != repository:
            diagnosis.problems.append(f"{place}: the index of another repository, {identity['repository']}")
    except FileNotFoundError:
        found["state"] = "none yet; the next backup makes it"
    except (OSError, ValueError, KeyError, TypeError) as error:
        found["state"] = "damaged"
        diagnosis.problems.append(f"{place}: cannot be read: {error}; `ingot rebuild` makes it anew")
    return found


def _filesystem(path: Path) -> str:
    there = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    try:
        return filesystem_kind(there.resolve(), Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
    except OSError:
        return "unknown"
