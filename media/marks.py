"""Marks on recovery points: what people and verification say of them (docs/format.md, section 8)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from media import frame
from media.faults import FormatTooNew, ObjectCorrupt, ObjectExists, RepositoryUnreachable
from media.frame import Kind
from media.ids import MARKS, mark_name, sid_text
from media.pool import Pool
from runtime.clock import Clock

TRACKING = "change tracking"  # who puts a mark that no verification takes back: what lies there is not what was read
_ATTEMPTS = 1000


class MarkKind(enum.Enum):
    PROTECTED = "protected"
    HOLD = "hold"
    SUSPECT = "suspect"
    VERIFIED = "verified"
    PLAN = "plan"


@dataclass(frozen=True)
class Mark:
    """One mark. `until` is a time, or None for ever."""

    kind: MarkKind
    time: str
    who: str
    note: str = ""
    until: str | None = None


def put_mark(pool: Pool, sid: int, kind: MarkKind, who: str, note: str, clock: Clock) -> None:
    """Add a mark to a recovery point; durable on return."""
    seq = sum(1 for _ in pool.repository.list(f"{MARKS}{sid_text(sid)}/"))
    for attempt in range(seq, seq + _ATTEMPTS):
        name = mark_name(sid, attempt)
        body = {"kind": kind.value, "time": clock.now(), "who": who, "note": note, "until": None}
        try:
            pool.repository.put_new(name, frame.encode_json(pool.keys, Kind.MARK, name, body))
        except ObjectExists:
            continue
        return
    raise RepositoryUnreachable(f"{mark_name(sid, seq)}: {_ATTEMPTS} marks were put by others meanwhile")


def is_unfaithful(marks: list[Mark]) -> bool:
    """Whether the point reads well, and yet holds what the disk did not."""
    return any(mark.kind is MarkKind.SUSPECT and mark.who == TRACKING for mark in marks)


def read_marks(pool: Pool, sid: int) -> list[Mark]:
    """The marks on a point, oldest first. An unreadable one raises: it may be a hold."""
    marks = []
    for entry in pool.repository.list(f"{MARKS}{sid_text(sid)}/"):
        body = frame.decode_json(pool.keys, Kind.MARK, entry.name, pool.repository.get(entry.name))
        try:
            kind = MarkKind(body["kind"])
            marks.append(Mark(kind, body["time"], body["who"], body.get("note", ""), body.get("until")))
        except KeyError as error:
            raise ObjectCorrupt(f"{entry.name}: expected a mark, found no {error}") from error
        except ValueError as error:
            raise FormatTooNew(f"{entry.name}: a mark that this build does not know: {error}") from error
    return marks
