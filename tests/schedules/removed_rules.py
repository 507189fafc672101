"""The rules of docs/design/protocol.md, each taken out of the real code: what is then lost shows what it is for.

Only here: the product knows no way to run without a rule.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

from media.container_reader import ContainerReader, containers_of
from media.ids import REGISTERS, session_name, sid_of, sid_of_name
from media.known_chunks import Fingerprints, Places
from media.packing import Uploads
from media.pool import Pool
from media.session import Process, Session
from runtime.clock import Clock
from tests.schedules.store import View

Removal = Callable[[], AbstractContextManager[object]]


def _unclaimed(pool: Pool, clock: Clock, _process: Process) -> Session:
    """W1: a number that nobody has, as far as one can see, and nobody is told."""
    sids = (sid_of(cid) for cid in containers_of(pool.repository))
    ended = (sid_of_name(entry.name, REGISTERS) or 0 for entry in pool.repository.list(REGISTERS))
    sid = max([*sids, *ended], default=0) + 1
    return Session(pool, sid, os.urandom(16).hex(), pool.keys.new_data_key(), clock)


def _share_number(pool: Pool, clock: Clock, _process: Process) -> Session:
    """Claimed, but not by put-if-absent: whoever began before and has not ended has the same number."""
    ended = (sid_of_name(entry.name, REGISTERS) or 0 for entry in pool.repository.list(REGISTERS))
    sid = max(ended, default=0) + 1
    view = pool.repository
    assert isinstance(view, View)
    view.put_over(session_name(sid), b"mine")
    return Session(pool, sid, os.urandom(16).hex(), pool.keys.new_data_key(), clock)


class _Hasty(Uploads):
    """W6: commits while containers are on their way."""

    def finish(self) -> None:
        """Waits for nothing."""


def _commit_over(session: Session, name: str, body: bytes) -> bool:
    """W7: the register is what was said last."""
    view = session.pool.repository
    assert isinstance(view, View)
    view.put_over(name, body)
    return True


def _believe(_reader: ContainerReader, places: Places, _fingerprints: Fingerprints) -> Places:
    """W9: what an index says is true."""
    return places


REMOVED: dict[str, Removal] = {
    "W1": lambda: patch.object(Session, "begin", _unclaimed),
    "W2": lambda: patch("media.local_log.CONDEMNATIONS", "looked-for-nowhere/"),
    "W6": lambda: patch("media.backup.Uploads", _Hasty),
    "W7": lambda: patch.object(Session, "_put_commit", _commit_over),
    "W9": lambda: patch.object(ContainerReader, "confirm", _believe),
}

WEAKENED: dict[str, Removal] = {"shared numbers": lambda: patch.object(Session, "begin", _share_number)}
"""What loses backups, and no data: the other rules hold."""
