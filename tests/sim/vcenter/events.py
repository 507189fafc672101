"""Events: what happened to which machine, as far as somebody may want to know."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.inventory import Entity
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, Simulated, serves

KEPT = 10_000
ANSWER_MAX = 1000


class Events(Simulated):
    """The event manager."""

    kind = vim.event.EventManager
    shown = {
        "latestEvent": lambda self: self.kept[-1] if self.kept else None,
        "maxCollector": lambda self: 32,
    }

    def __init__(self, vcenter: Any, moid: str) -> None:
        super().__init__(vcenter, moid)
        self.kept: list[Any] = []
        self._next = 1

    def post(self, kind: Any, machine: Machine, user: str, **more: Any) -> None:
        """With the lock held."""
        center = self.vcenter.datacenter
        event = kind(
            key=self._next,
            chainId=self._next,
            createdTime=self.vcenter.clock.now(),
            userName=user,
            fullFormattedMessage=f"{kind.__name__.rpartition('.')[2]} {machine.name}",
            vm=vim.event.VmEventArgument(vm=machine.ref, name=machine.name),
            host=vim.event.HostEventArgument(host=machine.host.ref, name=machine.host.name),
            datacenter=vim.event.DatacenterEventArgument(datacenter=center.ref, name=center.name),
            **more,
        )
        self._next += 1
        self.kept.append(event)
        del self.kept[:-KEPT]
        self.touch()


def _fits(event: Any, filter_: Any, machines: set[str] | None) -> bool:
    if machines is not None and event.vm.vm._moId not in machines:
        return False
    time = filter_.time
    if time is not None and time.beginTime is not None and event.createdTime < time.beginTime:
        return False
    if time is not None and time.endTime is not None and event.createdTime > time.endTime:
        return False
    return (
        not filter_.eventTypeId
        or f"vim.event.{event._wsdlName}" in filter_.eventTypeId
        or (event._wsdlName in filter_.eventTypeId)
    )


@serves(vim.event.EventManager, "QueryEvents", "System.View")
def query_events(call: Call, events: Events, filter: Any) -> list[Any]:
    machines = None
    if filter.entity is not None:
        root = call.vcenter.need(filter.entity.entity)
        machines = {root.moid}
        if str(filter.entity.recursion) != "self":
            machines = {each.moid for each in call.vcenter.machines() if root in each.ancestors()}
    found = [each for each in events.kept if _fits(each, filter, machines)]
    return found[-ANSWER_MAX:]


def happened(call: Call, kind: Any, entity: Entity, **more: Any) -> None:
    """A machine's event."""
    if isinstance(entity, Machine):
        call.vcenter.events.post(kind, entity, call.user, **more)
