"""That tags were put on objects or taken off: no property of a machine tells, but a vCenter posts an event.

An event has the object's name, which several may have, and no id: the tags of all machines of that name are looked at.
Events come as a property of an event collector, which a property collector waits for with everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote

from pyVmomi import vim, vmodl

from runtime.faults import Fault
from runtime.logs import log
from vsa.faults import HypervisorFailed, PrivilegeMissing
from vsa.hypervisors.vcenter.connection import Connection

_KINDS = ("com.vmware.cis.tagging.attach", "com.vmware.cis.tagging.detach")
_PAGE = 100  # events, of which a collector shows the newest
_OBJECT = "Object"  # the argument with the object's name


class TagEvents:
    """Those from the moment when this was made. Of one thread."""

    def __init__(self, connection: Connection, collector: Any) -> None:
        """`collector` is one of events; None tells of nothing."""
        self._connection = connection
        self._collector = collector
        self._last = 0  # keys grow

    def names(self, update: Any) -> frozenset[str] | None:
        """Whose tags changed by an update, as machines are called; None: nobody knows, so anybody's may have."""
        objects = [each.obj for of_filter in update.filterSet for each in of_filter.objectSet]
        if not any(isinstance(each, vim.event.EventHistoryCollector) for each in objects):
            return frozenset()
        page = self._connection.properties(self._collector, "latestPage").get("latestPage") or []
        new = [event for event in page if event.key > self._last]
        self._last = max([self._last, *(event.key for event in new)])
        if len(new) >= _PAGE:
            return None  # none of them is known, so there may have been more
        found = [_argument(event, _OBJECT) for event in new]
        return None if None in found else frozenset(unquote(name or "") for name in found)


@contextmanager
def tag_events(connection: Connection, collector: Any) -> Iterator[TagEvents]:
    """`collector` is one of properties, which waits for events from now on. Raises SessionLost and its like."""
    events = None
    try:
        if connection.is_vcenter:
            events = _collected(connection)
            seen = vmodl.query.PropertyCollector
            spec = seen.FilterSpec(
                objectSet=[seen.ObjectSpec(obj=events)],
                propSet=[seen.PropertySpec(type=vim.event.EventHistoryCollector, pathSet=["latestPage"])],
            )
            connection.call(collector.CreateFilter, spec, False)
    except (PrivilegeMissing, HypervisorFailed) as fault:
        log().warning("changes of tags wait for discoveries", address=connection.address, message=str(fault))
    try:
        yield TagEvents(connection, events)
    finally:
        if events is not None:
            with suppress(Fault):  # it may have ended with its session
                connection.call(events.DestroyCollector)


def _collected(connection: Connection) -> Any:
    since = connection.read(vim.ServiceInstance("ServiceInstance", connection.stub).CurrentTime)
    wanted = vim.event.EventFilterSpec(eventTypeId=list(_KINDS), time=vim.event.EventFilterSpec.ByTime(beginTime=since))
    events = connection.call(connection.content.eventManager.CreateCollectorForEvents, wanted)
    connection.call(events.SetCollectorPageSize, _PAGE)
    return events


def _argument(event: Any, key: str) -> str | None:
    found = (each.value for each in getattr(event, "arguments", None) or () if each.key == key)
    value = next(found, None)
    return None if value is None else str(value)
