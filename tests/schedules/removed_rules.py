"""The rules of docs/design/protocol.md, each taken out of the real code: what is then lost shows what it is for.

Only here: the product knows no way to run without a rule.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from unittest.mock import patch

from media import frame
from media.container_reader import ContainerReader
from media.faults import ObjectExists
from media.ids import REGISTERS, session_name, sid_of_name
from media.known_chunks import Fingerprints, Places
from media.packing import Uploads
from media.pool import Pool
from media.session import Process, Session
from runtime.clock import Clock
from tests.schedules.store import View

Removal = Callable[[], AbstractContextManager[object]]


def _begin_anyhow(pool: Pool, clock: Clock, process: Process) -> Session:
    """W1: the first number that nobody ended, whoever else has it: another writer, or one that this one goes on for."""
    ended = [sid_of_name(entry.name, REGISTERS) or 0 for entry in pool.repository.list(REGISTERS)]
    sid = max(ended, default=0) + 1
    nonce = os.urandom(16).hex()
    claim = frame.encode_json(pool.keys, frame.Kind.SESSION, session_name(sid), {"nonce": nonce})
    with suppress(ObjectExists):
        pool.repository.put_new(session_name(sid), claim)
    return Session(pool, sid, nonce, pool.keys.new_data_key(), clock)


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
    "W1": lambda: patch.object(Session, "begin", _begin_anyhow),
    "W6": lambda: patch("media.backup.Uploads", _Hasty),
    "W7": lambda: patch.object(Session, "_put_commit", _commit_over),
    "W9": lambda: patch.object(ContainerReader, "confirm", _believe),
}
