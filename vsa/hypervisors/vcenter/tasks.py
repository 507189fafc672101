"""Tasks of a vCenter: begun at most once, and waited for until they end.

They are asked how they go, ever more slowly, rather than watched through a filter: a filter ends with its session, and
a task does not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from runtime.faults import Fault
from vsa.faults import HypervisorFailed, HypervisorUnreachable, SessionLost
from vsa.hypervisors.vcenter.calling import Calling
from vsa.hypervisors.vcenter.translation import translated

_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 2.0
_CANCEL_SECONDS = 120.0  # a task that was cancelled may take so long to end


def go_on() -> None:
    """For who has nothing to check."""


class Tasks:
    """Of one connection; safe to use from several threads."""

    def __init__(self, connection: Calling) -> None:
        self._connection = connection

    def run(self, entity: Any, begin: Callable[..., Any], *arguments: Any, check: Callable[[], None] = go_on) -> Any:
        """`start` and `wait`."""
        return self.wait(self.start(entity, begin, *arguments), check)

    def start(self, entity: Any, begin: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method that makes a task on `entity` (a machine, also for what a snapshot of it does), once; the task.

        When the answer is lost, the task may run all the same: then it is looked for among the entity's recent tasks,
        of which there was a list before. Not found, the fault is raised, and nothing was begun as far as one can see.
        """
        before = self._recent(entity)
        try:
            return self._connection.call(begin, *arguments)
        except (SessionLost, HypervisorUnreachable) as fault:
            ours = self._begun_since(entity, before, _method_name(begin))
            if len(ours) != 1:
                raise
            fault.add_note("the task was found running")
            return ours[0]

    def wait(self, task: Any, check: Callable[[], None] = go_on) -> Any:
        """What the task results in. Raises the fault that it ended with, in our words.

        `check` raises when the wait must end: then the task is cancelled if it can be, waited for a while longer, and
        what `check` raised is raised. A task that ended well in between has happened; who cares looks.
        """
        seconds = _FIRST_SECONDS
        clock = self._connection.clock
        while True:
            info = self._info(task)
            if info.state == "success":
                return info.result
            if info.state == "error":
                raise translated(self._connection.address, info.error) from info.error
            try:
                check()
            except BaseException:
                self._cancel(task, info.cancelable)
                raise
            clock.sleep(seconds)
            seconds = min(seconds * 1.5, _LONGEST_SECONDS)

    def _cancel(self, task: Any, cancelable: bool) -> None:
        clock = self._connection.clock
        until = clock.monotonic_seconds() + _CANCEL_SECONDS
        with suppress(Fault):
            if cancelable:
                self._connection.call(task.CancelTask)
            while self._info(task).state not in ("success", "error") and clock.monotonic_seconds() < until:
                clock.sleep(_LONGEST_SECONDS / 4)

    def _info(self, task: Any) -> Any:
        info = self._connection.properties(task, "info").get("info")
        if info is None:
            raise HypervisorFailed(f"{self._connection.address}: task {task._moId} tells nothing of itself", "")
        return info

    def _recent(self, entity: Any) -> list[Any]:
        return list(self._connection.properties(entity, "recentTask").get("recentTask") or [])

    def _begun_since(self, entity: Any, before: list[Any], method: str) -> list[Any]:
        """Those of this method that this user began on the entity and that were not there before."""
        old = {task._moId for task in before}
        ours = []
        for task in self._recent(entity):
            if task._moId not in old:
                info = self._info(task)
                same = str(info.descriptionId).rpartition(".")[2].lower() in _names(method)
                who = getattr(info.reason, "userName", None)
                if same and who in (None, self._connection.user):
                    ours.append(task)
        return ours


def _method_name(begin: Callable[..., Any]) -> str:
    """A bound method of pyVmomi is a lambda over what knows the method's name."""
    for cell in getattr(begin, "__closure__", None) or ():
        for known in getattr(cell.cell_contents, "args", ()):
            if isinstance(getattr(known, "name", None), str):
                return str(known.name)
    return str(getattr(begin, "__name__", ""))


def _names(method: str) -> set[str]:
    """As what a task may describe itself: `CreateSnapshotEx_Task` is `createSnapshot` or `createSnapshotEx`."""
    plain = method.removesuffix("_Task").lower()
    return {plain, plain.removesuffix("ex"), plain.removeprefix("vm"), plain.removesuffix("vm")}
