"""The kinds of job: who can do each, and what only one of them may work on at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Kind = Literal[
    "discover",
    "watch",
    "check",
    "clean",
    "backup",
    "restore",
    "create_pool",
    "keep_secret",
    "read_points",
    "expire",
    "verify",
    "rebuild",
]

ROLE: dict[str, str] = {
    "discover": "vsa",
    "watch": "vsa",
    "check": "vsa",
    "clean": "vsa",
    "backup": "vsa",
    "restore": "vsa",
    "create_pool": "mediaagent",
    "keep_secret": "mediaagent",
    "read_points": "mediaagent",
    "expire": "mediaagent",
    "verify": "mediaagent",
    "rebuild": "mediaagent",
}
SETTLE = "read_register"  # what is done about a commit whose outcome is unknown: an agent's work, not a kind of job
SETTLING = "mediaagent"  # the role that does it
URGENT, USUAL = 0, 1


@dataclass(frozen=True)
class Wanted:
    """A job that is not made yet."""

    kind: Kind
    subject: str
    due_at: datetime
    deadline_at: datetime
    requested_by: str = ""
    urgency: int = USUAL
    not_before_at: datetime | None = None
    run_id: str | None = None
    plan_id: str | None = None
    rule_id: str | None = None
    hypervisor_id: str | None = None
    pool_id: str | None = None
    machine_id: str | None = None
    machine_name: str = ""
    wanted_agent_id: str | None = None
    first: bool = False
    streams: int = 1
    attempts_allowed: int = 3
    arguments: dict[str, Any] = field(default_factory=dict)


LASTING = frozenset({"watch"})  # wait most of the time, and for long: agents keep no slot for them
