"""Expiry of recovery points: a mark, which deletes nothing (docs/format.md, section 8)."""

from __future__ import annotations

from contextlib import suppress

from media import frame
from media.faults import DamageFault, ObjectExists
from media.frame import Kind
from media.ids import expiry_name
from media.marks import MarkKind, read_marks
from media.pool import Pool
from runtime.clock import Clock

_HOLDING = (MarkKind.PROTECTED, MarkKind.HOLD)


def expire_point(pool: Pool, sid: int, who: str, clock: Clock) -> str | None:
    """Say that a point has expired; None when it has, durably, or why it stays: somebody protects it.

    A mark that cannot be read protects as well. Raises RepositoryFault.
    """
    try:
        now = clock.now()
        marks = [mark for mark in read_marks(pool, sid) if mark.kind in _HOLDING]
        holding = [mark for mark in marks if mark.until is None or mark.until > now]
    except DamageFault as fault:
        return f"a mark cannot be read: {fault}"
    if holding:
        return f"{holding[-1].kind.value}, by {holding[-1].who}"
    name = expiry_name(sid)
    with suppress(ObjectExists):  # the first one counts
        pool.repository.put_new(name, frame.encode_json(pool.keys, Kind.EXPIRY, name, {"time": now, "who": who}))
    return None
