"""What goes wrong on purpose: a fault of a call or of its task, a slow answer, a connection that is cut."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

if TYPE_CHECKING:
    from tests.sim.vcenter.tasks import Task

WHERE = ("call", "task", "cut-before", "cut-after")


class Cut(Exception):
    """The connection ends here; `after` says that the call was done."""


@dataclass
class Planned:
    """One misfortune: for calls of `method`, after `skip` of them went well, `times` times."""

    method: str
    where: str
    fault: Any = None
    times: int = 1
    skip: int = 0
    object: str = ""  # only of this object, where it is given
    seconds: float = 0.0


class Faults:
    """`calls` counts what was called, by method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.planned: list[Planned] = []
        self.calls: dict[str, int] = {}
        self.latency_seconds = 0.0
        self.latency_by_method: dict[str, float] = {}
        self._hurry = threading.Event()  # ends what is slow now

    def plan(self, method: str, fault: Any = None, **how: Any) -> Planned:
        """`fault` is a fault of pyVmomi's, its type or its name; `where` is one of `WHERE`."""
        if isinstance(fault, str):
            fault = fault_named(fault)
        planned = Planned(method, how.pop("where", "call" if fault is not None else "cut-before"), fault, **how)
        if planned.where not in WHERE:
            raise ValueError(f"where: expected one of {', '.join(WHERE)}, found {planned.where}")
        with self._lock:
            self.planned.append(planned)
        return planned

    def clear(self) -> None:
        """Nothing goes wrong any more, and what is slow is over."""
        with self._lock:
            self.planned.clear()
        self._hurry.set()
        self._hurry = threading.Event()

    def meet(self, method: str, moid: str) -> None:
        """Before a call. Raises its fault, or Cut."""
        with self._lock:
            self.calls[method] = self.calls.get(method, 0) + 1
        seconds = self.latency_by_method.get(method, self.latency_seconds)
        if seconds:
            self._hurry.wait(seconds)
        if self._take(method, moid, "cut-before") is not None:
            raise Cut
        planned = self._take(method, moid, "call")
        if planned is not None:
            raise made(planned.fault)

    def meet_after(self, method: str, moid: str) -> None:
        """When a call is done. Raises Cut."""
        if self._take(method, moid, "cut-after") is not None:
            raise Cut

    def meet_in_task(self, method: str, task: Task) -> None:
        """In a task before its work. Raises its fault."""
        planned = self._take(method, task.info.entity._moId, "task")
        if planned is not None:
            if planned.seconds:
                self._hurry.wait(planned.seconds)
            if planned.fault is not None:
                raise made(planned.fault)

    def _take(self, method: str, moid: str, where: str) -> Planned | None:
        with self._lock:
            for each in self.planned:
                if each.method in (method, "*") and each.where == where and each.object in ("", moid):
                    if each.skip > 0:
                        each.skip -= 1
                        continue
                    if each.times == 0:
                        continue
                    each.times -= 1
                    return each
        return None


def made(fault: Any) -> Any:
    """A fault to raise; a new one of its type where only the type is given."""
    return fault() if isinstance(fault, type) else fault


def fault_named(name: str) -> Any:
    """The type of a name like `vim.fault.FileFault` or `FileFault`. Raises ValueError."""
    for room in (vim.fault, vmodl.fault):
        found = getattr(room, name.rpartition(".")[2], None)
        if found is not None:
            return found
    raise ValueError(f"{name}: expected the name of a fault of vSphere's")
