"""Updates as they happen: filters, WaitForUpdatesEx with its versions, truncation and time-outs.

A collector remembers what it said last. Whoever asks with the version it said is told what changed since; whoever asks
with the version before is told the same again; an empty version begins anew; any other is InvalidCollectorVersion.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vmodl

from tests.sim.vcenter.answering import not_authenticated
from tests.sim.vcenter.objects import Call, Simulated, serves
from tests.sim.vcenter.property_collector import PropertyCollector
from tests.sim.vcenter.selection import Selection, written
from tests.sim.vcenter.soap import Written

UPDATES_MAX = 1000  # objects in one answer, whatever the client allows
_Told = dict[str, dict[str, str | None]]  # by object: its properties as they were told


class Filter(Simulated):
    """One filter: its selection, and which objects it holds."""

    kind = vmodl.query.PropertyCollector.Filter
    shown = {"spec": lambda self: self.spec, "partialUpdates": lambda self: self.partial}

    def __init__(self, vcenter: Any, moid: str, spec: Any, partial: bool) -> None:
        super().__init__(vcenter, moid)
        self.spec = spec
        self.partial = partial
        self.selection = Selection(vcenter, spec)
        self._members: list[Simulated] = []
        self._structure = -1
        self.known: dict[str, type] = {}  # the type of everything that was ever told, for when it has gone

    def members(self) -> list[Simulated]:
        """Objects selected now; walked again only when something came, went or moved."""
        if self._structure != self.vcenter.changes.structure:
            self._members = self.selection.objects()
            self._structure = self.vcenter.changes.structure
        return self._members


@dataclass
class _Pending:
    """Changes that were told and not confirmed yet."""

    version: int
    text: str
    told: dict[str, _Told]
    revision: int


@dataclass
class _Updates:
    """What one session was told by one collector."""

    version: int = 0
    told: dict[str, _Told] = field(default_factory=dict)  # by filter
    revision: int = -1
    pending: _Pending | None = None
    cancelled: int = 0


def _of(call: Call, collector: PropertyCollector) -> _Updates:
    assert call.session is not None
    return collector.versions.setdefault(call.session.key, _Updates())


def _filters(call: Call, collector: PropertyCollector) -> list[Filter]:
    assert call.session is not None
    moids = collector.filters_by_session.get(call.session.key, [])
    return [call.vcenter.objects[moid] for moid in moids if moid in call.vcenter.objects]


@serves(vmodl.query.PropertyCollector, "CreateFilter")
def create_filter(call: Call, collector: PropertyCollector, spec: Any, partialUpdates: bool) -> Any:
    assert call.session is not None
    made = Filter(call.vcenter, call.vcenter.new_id("filter"), spec, partialUpdates)
    call.vcenter.keep(made, call.session)
    collector.filters_by_session.setdefault(call.session.key, []).append(made.moid)
    _of(call, collector).revision = -1
    call.vcenter.changes.rouse()
    return made.ref


@serves(vmodl.query.PropertyCollector.Filter, "DestroyPropertyFilter")
def destroy_filter(call: Call, filter_: Filter) -> None:
    call.vcenter.forget(filter_.moid)
    call.vcenter.changes.rouse()


@serves(vmodl.query.PropertyCollector, "WaitForUpdatesEx")
def wait_for_updates(call: Call, collector: PropertyCollector, version: str = "", options: Any = None) -> Any:
    """Called with the lock held; waiting lets go of it."""
    state = _begin(call, collector, version)
    if state.pending is not None:
        return Written(state.pending.text)
    seconds = options.maxWaitSeconds if options is not None else None
    most = min((options.maxObjectUpdates if options is not None else None) or UPDATES_MAX, UPDATES_MAX)
    deadline = None if seconds is None else time.monotonic() + seconds
    cancelled = state.cancelled
    while True:
        text = _look(call, collector, state, most)
        if text is not None:
            return Written(text)
        left = 3600.0 if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return None
        call.vcenter.changes.wait(left)
        if state.cancelled != cancelled:
            raise vmodl.fault.RequestCanceled()
        if call.session is None or call.session.key not in call.vcenter.sessions.by_key:
            raise not_authenticated(collector.ref)
        if call.vcenter.find(collector.moid) is None:
            raise vmodl.fault.ManagedObjectNotFound(obj=collector.ref)
        if call.vcenter.stopping:
            raise vmodl.fault.HostCommunication()


@serves(vmodl.query.PropertyCollector, "WaitForUpdates")
def wait_plainly(call: Call, collector: PropertyCollector, version: str = "") -> Any:
    return wait_for_updates(call, collector, version, None)


@serves(vmodl.query.PropertyCollector, "CheckForUpdates")
def check_for_updates(call: Call, collector: PropertyCollector, version: str = "") -> Any:
    return wait_for_updates(
        call, collector, version, vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=0, maxObjectUpdates=None)
    )


@serves(vmodl.query.PropertyCollector, "CancelWaitForUpdates")
def cancel_waiting(call: Call, collector: PropertyCollector) -> None:
    _of(call, collector).cancelled += 1
    call.vcenter.changes.rouse()


def _begin(call: Call, collector: PropertyCollector, version: str) -> _Updates:
    """Confirm what the client has, or forget it."""
    state = _of(call, collector)
    if not version:
        state.told, state.revision, state.pending = {}, -1, None
    elif state.pending is not None and version == str(state.pending.version):
        pending, state.pending = state.pending, None
        state.version, state.told, state.revision = pending.version, pending.told, pending.revision
    elif version != str(state.version):
        raise vmodl.query.InvalidCollectorVersion()
    return state


def _look(call: Call, collector: PropertyCollector, state: _Updates, most: int) -> str | None:
    """The next answer; None when nothing changed since the last."""
    revision = call.vcenter.changes.last
    if state.revision == revision:
        return None
    told: dict[str, _Told] = {}
    sets: list[str] = []
    room = most
    truncated = False
    for each in _filters(call, collector):
        before = state.told.get(each.moid, {})
        told[each.moid] = now = dict(before)
        objects, more = _changes(call, each, state, now, room)
        room -= len(objects)
        truncated = truncated or more
        if objects:
            sets.append(f'<filterSet><filter type="PropertyFilter">{each.moid}</filter>{"".join(objects)}</filterSet>')
    if not sets:
        state.told, state.revision = told, revision
        return None
    number = state.version + 1
    more_text = "<truncated>true</truncated>" if truncated else "<truncated>false</truncated>"
    text = f"<returnval><version>{number}</version>{''.join(sets)}{more_text}</returnval>"
    state.pending = _Pending(number, text, told, state.revision if truncated else revision)
    return text


def _changes(call: Call, of: Filter, state: _Updates, told: _Told, room: int) -> tuple[list[str], bool]:
    """ObjectUpdates of a filter, at most `room`, with `told` brought forward; and whether there is more."""
    updates: list[str] = []
    user = call.user
    members = [each for each in of.members() if call.vcenter.authorization.sees(user, each)]
    for each in members:
        if each.moid in told and each.revision <= state.revision:
            continue
        paths = of.selection.paths(each) or []
        now = {path: written(each, path) for path in paths}
        before = told.get(each.moid)
        if before == now:
            continue
        if len(updates) >= room:
            return updates, True
        updates.append(_object_update(each, before, now))
        told[each.moid] = now
        of.known[each.moid] = each.kind
    for moid in set(told) - {each.moid for each in members}:
        if len(updates) >= room:
            return updates, True
        name = of.known[moid]._wsdlName
        updates.append(f'<objectSet><kind>leave</kind><obj type="{name}">{moid}</obj></objectSet>')
        del told[moid]
    return updates, False


def _object_update(of: Simulated, before: dict[str, str | None] | None, now: dict[str, str | None]) -> str:
    kind = "enter" if before is None else "modify"
    changed = []
    for path, value in now.items():
        if before is not None and before.get(path) == value:
            continue
        if value is not None:
            changed.append(f"<changeSet><name>{path}</name><op>assign</op>{value}</changeSet>")
        elif before is not None:
            changed.append(f"<changeSet><name>{path}</name><op>remove</op></changeSet>")
    head = f'<objectSet><kind>{kind}</kind><obj type="{of.kind._wsdlName}">{of.moid}</obj>'
    return f"{head}{''.join(changed)}</objectSet>"
