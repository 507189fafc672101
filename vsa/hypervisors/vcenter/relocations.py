"""Whether a machine is being moved, or was: the tasks that move it, by people, by DRS and by storage DRS.

Where a machine is before and after tells nothing of one that went and came back in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vsa.faults import ObjectMissing
from vsa.hypervisors.vcenter.connection import Connection

_BY_PEOPLE = ("virtualmachine.relocate", "virtualmachine.migrate")  # how what a task says of itself begins
_BY_DRS = "vmotionlro"  # how it ends: `Drm.ExecuteVMotionLRO`, `Drm.ExecuteStorageVmotionLro`


class Relocations:
    """Of one machine."""

    def __init__(self, connection: Connection, machine: Any) -> None:
        self._connection = connection
        self._machine = machine
        self._is_move: dict[str, bool] = {}
        self._over: frozenset[str] = frozenset()

    def note(self) -> None:
        """What moved it up to now counts no more; what moves it now does."""
        self._over = frozenset(task for task, info in self._moves() if info.state in ("success", "error"))

    def running(self) -> bool:
        """Whether it is being moved now, or will be."""
        return any(info.state in ("queued", "running") for _, info in self._moves())

    def since(self) -> str | None:
        """What moves it, or moved it since `note`; None where nothing does. A move that failed left it where it was."""
        moves = ((task, info) for task, info in self._moves() if task not in self._over)
        return next((f"{info.descriptionId} ({task})" for task, info in moves if info.state != "error"), None)

    def _moves(self) -> Iterator[tuple[str, Any]]:
        for task in self._connection.properties(self._machine, "recentTask").get("recentTask") or []:
            key = str(task._moId)
            if not self._is_move.get(key, True):
                continue
            try:
                info = self._connection.properties(task, "info").get("info")
            except ObjectMissing:  # forgotten since: it was over long ago
                continue
            said = str(info.descriptionId).lower() if info is not None else ""
            self._is_move[key] = said.startswith(_BY_PEOPLE) or said.endswith(_BY_DRS)
            if self._is_move[key]:
                yield key, info
