"""Tasks: work that goes on after the call returned, told by the property collector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyVmomi import VmomiSupport, vim, vmodl

from tests.sim.vcenter.objects import Call, Simulated, serves

if TYPE_CHECKING:
    from tests.sim.vcenter.inventory import Entity

RECENT_MAX = 200
Work = Callable[["Task"], Any]


class Task(Simulated):
    """`info` says where it stands."""

    kind = vim.Task
    shown = {"info": lambda self: self.info}

    def __init__(self, vcenter: Any, moid: str, info: Any) -> None:
        super().__init__(vcenter, moid)
        self.info = info
        self.is_cancelled = False

    def progress(self, percent: int) -> None:
        """Tell how far it is. Raises RequestCanceled when somebody wants it to end."""
        if self.is_cancelled:
            raise vmodl.fault.RequestCanceled()
        with self.vcenter.changes.lock:
            self.info.progress = percent
            self.touch()


class Tasks(Simulated):
    """The task manager."""

    kind = vim.TaskManager
    shown = {
        "recentTask": lambda self: [each.ref for each in self.recent],
        "maxCollector": lambda self: 32,
        "description": lambda self: vim.TaskDescription(methodInfo=[], state=[], reason=[]),
    }

    def __init__(self, vcenter: Any, moid: str) -> None:
        super().__init__(vcenter, moid)
        self.recent: list[Task] = []

    def start(self, call: Call, entity: Entity, work: Work, *, cancelable: bool = False) -> Any:
        """Have a worker do it. The lock is not held while `work` runs; what it returns is the task's result."""
        name = call.method.removesuffix("_Task")
        now = self.vcenter.clock.now()
        moid = self.vcenter.new_id("task-")
        info = vim.TaskInfo(
            key=moid,
            task=vim.Task(moid),
            name=VmomiSupport.GuessWsdlMethod(call.method),
            descriptionId=f"{entity.kind._wsdlName}.{name[0].lower()}{name[1:]}",
            entity=entity.ref,
            entityName=entity.name,
            state="running",
            cancelled=False,
            cancelable=cancelable,
            reason=vim.TaskReasonUser(userName=call.user),
            queueTime=now,
            startTime=now,
            eventChainId=int(moid.rpartition("-")[2]),
        )
        task = Task(self.vcenter, moid, info)
        self.vcenter.objects[moid] = task
        self._remember(task, entity)
        self.vcenter.workers.submit(self._run, task, work, call.method)
        return task.ref

    def _run(self, task: Task, work: Work, method: str) -> None:
        try:
            self.vcenter.faults.meet_in_task(method, task)
            result, fault = work(task), None
        except vmodl.MethodFault as error:
            result, fault = None, error
        with self.vcenter.changes.lock:
            task.info.completeTime = self.vcenter.clock.now()
            task.info.result = result
            task.info.error = fault
            task.info.progress = None
            task.info.state = "success" if fault is None else "error"
            task.touch()

    def _remember(self, task: Task, entity: Entity) -> None:
        self.recent.append(task)
        while len(self.recent) > RECENT_MAX:
            self.recent.pop(0)
        entity.recent_tasks = [*entity.recent_tasks[-9:], task]
        task.touch()
        entity.touch()
        self.touch()


@serves(vim.Task, "CancelTask")
def cancel(call: Call, task: Task) -> None:
    if not task.info.cancelable:
        raise vmodl.fault.NotSupported(msg="this task cannot be cancelled")
    task.is_cancelled = True
    task.info.cancelled = True
    task.touch()
