"""The inventory as it changes: a property collector of our own, asked again and again what is new.

    begin: all machines --wait--> changed, gone --wait--> ...
      ^-- the session, the collector or its versions ended: all is read anew, and what differs from before is told

What a machine is now is read when it, its tags or a place that it is in are told to have changed, so only its name and
what it was last told to be are remembered of it, as a hash: memory does not grow with what machines have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim, vmodl

from runtime.faults import Fault
from runtime.logs import log
from vsa.faults import HypervisorFailed, ObjectMissing, SessionLost
from vsa.hypervisors import MachineSeen
from vsa.hypervisors.vcenter import places
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.inventory import PROPERTIES, Surroundings, machine_seen
from vsa.hypervisors.vcenter.retrieval import PAGE, view_filter, view_of
from vsa.hypervisors.vcenter.tag_events import tag_events
from vsa.hypervisors.vcenter.tags import read_tags

_WATCHED = (
    "name",
    "parent",
    "resourcePool",
    "customValue",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "datastore",
    "config.changeVersion",  # of all else that is configured: its disks, above all
    "config.template",
)
_ENDED = frozenset({"InvalidCollectorVersion", "InvalidState", "ManagedObjectNotFound"})


@dataclass(frozen=True)
class Changes:
    """Machines as they are now, and the ids of those that are gone."""

    machines: list[MachineSeen] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Known:
    id: str
    name: str
    digest: bytes


class Live:
    """Of one connection, for one thread."""

    def __init__(self, connection: Connection, *, wait_seconds: int = 5) -> None:
        """It waits so long for news before it looks whether to go on."""
        self._connection = connection
        self._wait_seconds = wait_seconds
        self._known: dict[str, _Known] = {}  # by MoRef; the machines that were told of
        self._heard_at = connection.clock.monotonic_seconds()

    def follow(self, go_on: Callable[[], bool]) -> Iterator[Changes]:
        """First every machine, in parts; then what changes, within a second or so, while `go_on`.

        An empty change is given out where nothing happened for a while. Raises HypervisorUnreachable and its like.
        """
        clock = self._connection.clock
        with self._connection.counts.behind(lambda: clock.monotonic_seconds() - self._heard_at):
            while go_on():
                generation = self._connection.generation
                try:
                    yield from self._follow_once(go_on)
                except SessionLost:
                    self._connection.log_in_again(generation)
                except (ObjectMissing, HypervisorFailed) as fault:
                    if isinstance(fault, HypervisorFailed) and fault.name not in _ENDED:
                        raise
                    log().info("live inventory begins anew", address=self._connection.address, message=str(fault))

    def _follow_once(self, go_on: Callable[[], bool]) -> Iterator[Changes]:
        around = Surroundings(self._connection, tags={})
        machines: set[str] = set()
        with self._collector() as collector, tag_events(self._connection, collector) as tags:
            version, whole = "", False
            options = vmodl.query.PropertyCollector.WaitOptions(
                maxWaitSeconds=self._wait_seconds, maxObjectUpdates=PAGE
            )
            while go_on():
                update = self._connection.wait_for(collector.WaitForUpdatesEx, version, options)
                self._heard_at = self._connection.clock.monotonic_seconds()
                if update is None:
                    yield Changes()
                    continue
                version = update.version
                changed, left = _told(update)
                machines = (machines | {each._moId for each in changed}) - left
                names = tags.names(update)
                if _is_renamed(update):
                    around, names = Surroundings(self._connection, tags={}), None
                seen, around = self._read(changed, around)
                others = self._named(names)
                for start in range(0, len(others), PAGE):
                    more, around = self._read(others[start : start + PAGE], around)
                    seen += more
                gone = self._forget(left)
                if not whole and not update.truncated:
                    whole = True  # what was known before it began anew and is not there now went meanwhile
                    gone += self._forget(set(self._known) - machines)
                yield Changes(seen, gone)

    @contextmanager
    def _collector(self) -> Iterator[Any]:
        """Ours alone, because what one collector was told about, another is not."""
        connection = self._connection
        collector = connection.read(connection.content.propertyCollector.CreatePropertyCollector)
        try:
            with ExitStack() as stack:
                wanted = [(vim.VirtualMachine, _WATCHED), *((kind, places.PROPERTIES) for kind in places.PLACES)]
                for kind, paths in wanted:
                    view = stack.enter_context(view_of(connection, kind))
                    connection.call(collector.CreateFilter, view_filter(view, kind, paths), False)
                yield collector
        finally:
            with suppress(Fault):  # it may have ended with its session
                connection.call(collector.DestroyPropertyCollector)

    def _read(self, changed: Sequence[Any], around: Surroundings) -> tuple[list[MachineSeen], Surroundings]:
        """Of these machines those that are not as they were told before."""
        if not changed:
            return [], around
        rows = self._properties(changed)
        if not all(around.covers(values) for _, values in rows):
            around = Surroundings(self._connection, tags={})
        if self._connection.is_vcenter:
            around.tags = read_tags(self._connection.rest, [machine._moId for machine, _ in rows])
        seen = []
        for machine, values in rows:
            found = machine_seen(machine._moId, values, around)
            if found is None:
                continue
            known = _Known(found.id, found.name, hashlib.blake2b(repr(found).encode(), digest_size=16).digest())
            if self._known.get(machine._moId) != known:
                self._known[machine._moId] = known
                seen.append(found)
        return seen, around

    def _properties(self, machines: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
        collect = vmodl.query.PropertyCollector
        spec = collect.FilterSpec(
            objectSet=[collect.ObjectSpec(obj=machine) for machine in machines],
            propSet=[collect.PropertySpec(type=vim.VirtualMachine, pathSet=list(PROPERTIES))],
            reportMissingObjectsInResults=True,
        )
        found = self._connection.read(self._connection.content.propertyCollector.RetrieveContents, [spec])
        return [(each.obj, {prop.name: prop.val for prop in each.propSet or []}) for each in found if each.propSet]

    def _named(self, names: frozenset[str] | None) -> list[Any]:
        """The machines that were told of with one of these names; None: all."""
        stub = self._connection.stub
        known = self._known.items()
        return [vim.VirtualMachine(moref, stub) for moref, each in known if names is None or each.name in names]

    def _forget(self, morefs: set[str]) -> list[str]:
        """The ids of machines that are gone: not of those that are there under another MoRef."""
        ids = [self._known.pop(moref).id for moref in sorted(morefs) if moref in self._known]
        there = {known.id for known in self._known.values()}
        return [each for each in ids if each not in there]


def _is_renamed(update: Any) -> bool:
    """Whether a folder, pool, cluster or datacenter has another name or place: the paths of all below are others."""
    objects = (each for of_filter in update.filterSet for each in of_filter.objectSet)
    return any(each.kind == "modify" and isinstance(each.obj, places.PLACES) for each in objects)


def _told(update: Any) -> tuple[list[Any], set[str]]:
    """The machines that came or changed, and the MoRefs of those that left."""
    changed: dict[str, Any] = {}
    left: set[str] = set()
    for of_filter in update.filterSet:
        for each in of_filter.objectSet:
            moref = each.obj._moId
            if not isinstance(each.obj, vim.VirtualMachine):
                continue
            if each.kind == "leave":
                left.add(moref)
                changed.pop(moref, None)
            else:
                changed[moref] = each.obj
                left.discard(moref)
    return list(changed.values()), left
