"""Which history of its repository an index belongs to, and what is kept beside it.

A repository that was rolled back, by a snapshot of its file system or an older copy, gives session numbers out again.
An index from before would then name, the footers beside it confirm, and the pages refer to, places in containers that
are other ones now. So before anything of a newer session is recorded or kept, that session is noted as it lies on
media, nonce and all. Where what was noted lies there no more, all of it is of another history and worth nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from media.faults import ObjectMissing, RepositoryFault
from media.ids import session_name, sid_of
from media.known_chunks import Fingerprints, KnownChunks, Places
from media.repository import Repository
from mediaagent.ddb.directory import CACHES

FILE = "history.json"


class History:
    """The newest session that was noted in a directory. Safe to use from several threads and processes."""

    def __init__(self, directory: Path, repository: Repository) -> None:
        self._path = directory / FILE
        self._repository = repository
        self._noted = max(_read(self._path), default=0)
        self._lost: set[int] = set()  # sessions whose claim is not there: not asked for again
        self._lock = threading.Lock()
        self.failure: Exception | None = None

    def note(self, sid: int) -> bool:
        """Note this session unless a newer one is; whether that was done. `failure` says why not, the first time."""
        with self._lock:
            if sid <= self._noted:
                return True
            if sid in self._lost:
                return False
            try:
                _write(self._path, sid, _digest(self._repository, sid))
            except (OSError, RepositoryFault) as error:
                self.failure = self.failure or error
                if isinstance(error, ObjectMissing):
                    self._lost.add(sid)
                return False
            self._noted = sid
            return True


class Remembering:
    """The same port around an index, and the newest session noted before anything of it is recorded.

    What cannot be noted is not recorded: that costs space, never a backup.
    """

    def __init__(self, known: KnownChunks, history: History) -> None:
        self._known = known
        self._history = history

    def locate(self, fingerprints: Fingerprints) -> Places:
        return self._known.locate(fingerprints)

    def record(self, cid: int, fingerprints: Fingerprints) -> None:
        if self._history.note(sid_of(cid)):
            self._known.record(cid, fingerprints)

    def forget(self, cids: Iterable[int]) -> None:
        self._known.forget(cids)

    def containers(self) -> set[int]:
        return self._known.containers()


def is_same(directory: Path, repository: Repository, containers: set[int]) -> bool:
    """Whether an index that knows these containers, and the caches beside it, are of this repository's history.

    Raises RepositoryFault.
    """
    noted = _read(directory / FILE)
    if not noted:  # nothing is kept before something is noted
        return not containers and not any((directory / name).exists() for name in CACHES)
    newest = max(noted)
    try:
        return newest >= sid_of(max(containers, default=0)) and _digest(repository, newest) == noted[newest]
    except ObjectMissing:
        return False


def _digest(repository: Repository, sid: int) -> str:
    return hashlib.sha256(repository.get(session_name(sid))).hexdigest()


def _read(path: Path) -> dict[int, str]:
    """Session -> digest; nothing when the file is not there, or was torn."""
    try:
        return {int(sid): str(digest) for sid, digest in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(path: Path, sid: int, digest: str) -> None:
    """Note `sid` unless another process noted a newer one; durable on return. A torn file reads as nothing noted."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if max(_read(path), default=0) < sid:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({sid: digest}).encode(), 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
