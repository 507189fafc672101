"""Events: what happened to which machine, as far as somebody may want to know; and collectors, which tell of new ones.

An event of a tag names the object by its name alone: no id, and no machine.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.inventory import Entity
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, Simulated, serves

KEPT = 10_000
ANSWER_MAX = 1000
PAGE = 10  # of a collector, before somebody says otherwise


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
        self._post(event)

    def post_extended(self, type_id: str, user: str, message: str, **arguments: str) -> None:
        """One of an extension's own. With the lock held."""
        event = vim.event.EventEx(
            key=self._next,
            chainId=self._next,
            createdTime=self.vcenter.clock.now(),
            userName=user,
            fullFormattedMessage=message,
            eventTypeId=type_id,
            severity="info",
            arguments=[vmodl.KeyAnyValue(key=key, value=value) for key, value in arguments.items()],
        )
        self._post(event)

    def _post(self, event: Any) -> None:
        self._next += 1
        self.kept.append(event)
        del self.kept[:-KEPT]
        self.touch()
        for each in self.vcenter.each(EventCollector):
            each.posted(event)


class EventCollector(Simulated):
    """The newest events that a client is interested in, of which it hears as of any property."""

    kind = vim.event.EventHistoryCollector
    shown = {"latestPage": lambda self: self.page, "filter": lambda self: self.filter}

    def __init__(self, vcenter: Any, moid: str, filter_: Any) -> None:
        super().__init__(vcenter, moid)
        self.filter = filter_
        self.size = PAGE
        self.page = [each for each in vcenter.events.kept if self._wants(each)][-PAGE:]

    def posted(self, event: Any) -> None:
        if self._wants(event):
            self.page = [*self.page, event][-self.size :]
            self.touch()

    def _wants(self, event: Any) -> bool:
        return _fits(event, self.filter, _machines(self.vcenter, self.filter))


def _fits(event: Any, filter_: Any, machines: set[str] | None) -> bool:
    if machines is not None and (event.vm is None or event.vm.vm._moId not in machines):
        return False
    time = filter_.time
    if time is not None and time.beginTime is not None and event.createdTime < time.beginTime:
        return False
    if time is not None and time.endTime is not None and event.createdTime > time.endTime:
        return False
    name = event._wsdlName
    own = {f"vim.event.{name}", name, getattr(event, "eventTypeId", name)}
    return not filter_.eventTypeId or not own.isdisjoint(filter_.eventTypeId)


def _machines(vcenter: Any, filter_: Any) -> set[str] | None:
    """Whose events are wanted; None: everybody's."""
    if filter_.entity is None:
        return None
    root = vcenter.need(filter_.entity.entity)
    if str(filter_.entity.recursion) == "self":
        return {root.moid}
    return {each.moid for each in vcenter.machines() if root in each.ancestors()}


@serves(vim.event.EventManager, "QueryEvents", "System.View")
def query_events(call: Call, events: Events, filter: Any) -> list[Any]:
    machines = _machines(call.vcenter, filter)
    found = [each for each in events.kept if _fits(each, filter, machines)]
    return found[-ANSWER_MAX:]


@serves(vim.event.EventManager, "CreateCollectorForEvents", "System.View")
def collect_events(call: Call, events: Events, filter: Any) -> Any:
    made = EventCollector(call.vcenter, call.vcenter.new_id("EventHistoryCollector-"), filter)
    call.vcenter.keep(made, call.session)
    return made.ref


@serves(vim.HistoryCollector, "SetCollectorPageSize")
def set_page_size(call: Call, collector: EventCollector, maxCount: int) -> None:
    if maxCount < 1 or maxCount > ANSWER_MAX:
        raise vmodl.fault.InvalidArgument(invalidProperty="maxCount")
    collector.size = maxCount
    collector.page = collector.page[-maxCount:]
    collector.touch()


@serves(vim.HistoryCollector, "DestroyCollector")
def destroy_collector(call: Call, collector: EventCollector) -> None:
    call.vcenter.forget(collector.moid)


def happened(call: Call, kind: Any, entity: Entity, **more: Any) -> None:
    """A machine's event."""
    if isinstance(entity, Machine):
        call.vcenter.events.post(kind, entity, call.user, **more)
