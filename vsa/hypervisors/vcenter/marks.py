"""Whose snapshot it is: a line of JSON in its description. What carries no mark of ours is never touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAME = "ingot backup"


@dataclass(frozen=True)
class Mark:
    """The CommServe of a site, a job, and the lease of it that made the snapshot."""

    site: str
    job: str
    fence: int

    def __str__(self) -> str:
        said = {"site": self.site, "job": self.job, "fence": self.fence}
        return json.dumps({"ingot": said}, separators=(",", ":"))


def mark_of(description: str | None) -> Mark | None:
    """None where it is nobody's, or cannot be read."""
    try:
        said = json.loads(description or "")["ingot"]
        return Mark(str(said["site"]), str(said["job"]), int(said["fence"]))
    except (ValueError, KeyError, TypeError):
        return None


def snapshots_of(info: Any) -> Iterator[Any]:
    """All nodes of a machine's snapshot tree (`snapshot`), parents before children; nothing where it has none."""
    waiting = list(info.rootSnapshotList) if info is not None else []
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting += node.childSnapshotList or []
