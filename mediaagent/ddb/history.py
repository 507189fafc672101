"""Which history of its repository an index belongs to.

A repository that was rolled back, by a snapshot of its file system or an older copy, gives session numbers out again.
An index from before would then name, and the footers beside it confirm, places in containers that are other ones now.
So the newest session that an index knows is remembered as it lay on media, nonce and all; where that lies there no
more, the index is of another history and worth nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from media.faults import ObjectMissing
from media.ids import session_name, sid_of
from media.repository import Repository
from mediaagent.ddb.occupancy import write_durably

_FILE = "history.json"


def remember(directory: Path, repository: Repository, containers: Iterable[int]) -> None:
    """Note the newest session among `containers`, those that the index knows. Raises OSError, RepositoryFault."""
    newest = max(containers, default=None)
    if newest is not None:
        name = session_name(sid_of(newest))
        write_durably(directory / _FILE, json.dumps({name: _digest(repository, name)}).encode())


def is_same(directory: Path, repository: Repository) -> bool:
    """Whether the repository still holds the session that was remembered; True where none was.

    Raises RepositoryFault.
    """
    try:
        noted = json.loads((directory / _FILE).read_bytes())
        return all(_digest(repository, name) == digest for name, digest in noted.items())
    except FileNotFoundError:
        return True
    except (OSError, ValueError, AttributeError):
        return False


def _digest(repository: Repository, name: str) -> str | None:
    try:
        return hashlib.sha256(repository.get(name)).hexdigest()
    except ObjectMissing:
        return None
