"""The property collector's answers in pages: RetrievePropertiesEx, Continue, Cancel, and what they were before.

Answers are put together as text from what each object keeps written, so ten thousand machines cost little the second
time.
"""

from __future__ import annotations

import itertools
from typing import Any

from pyVmomi import vmodl

from tests.sim.vcenter.objects import Call, Simulated, serves
from tests.sim.vcenter.selection import Selection, written
from tests.sim.vcenter.soap import Written

PAGE_MAX = 1000  # objects in one answer, whatever the client allows


class PropertyCollector(Simulated):
    """The one of the service, of which every session has its own filters and updates, or one that a client made."""

    kind = vmodl.query.PropertyCollector
    shown = {"filter": lambda self: [self.vcenter.objects[moid].ref for moid in self.filters]}

    def __init__(self, vcenter: Any, moid: str) -> None:
        super().__init__(vcenter, moid)
        self.filters_by_session: dict[str, list[str]] = {}
        self.versions: dict[str, Any] = {}  # by session: how far it was told
        self.pages: dict[tuple[str, str], list[tuple[Simulated, list[str]]]] = {}
        self.tokens = itertools.count()

    @property
    def filters(self) -> list[str]:
        return [moid for filters in self.filters_by_session.values() for moid in filters]


def write_object(of: Simulated, paths: list[str], tag: str = "objects") -> str:
    """One ObjectContent."""
    parts = [f'<{tag}><obj type="{_wsdl_name(of.kind)}">{of.moid}</obj>']
    for path in paths:
        value = written(of, path)
        if value is not None:
            parts.append(f"<propSet><name>{path}</name>{value}</propSet>")
    parts.append(f"</{tag}>")
    return "".join(parts)


_names: dict[type, str] = {}


def _wsdl_name(kind: type) -> str:
    return _names.setdefault(kind, kind._wsdlName)


def _selected(call: Call, specs: list[Any]) -> list[tuple[Simulated, list[str]]]:
    assert call.session is not None
    found: list[tuple[Simulated, list[str]]] = []
    for spec in specs:
        selection = Selection(call.vcenter, spec)
        for each in selection.objects():
            if call.vcenter.authorization.sees(call.session.user, each):
                found.append((each, selection.paths(each) or []))
    return found


Selected = list[tuple[Simulated, list[str]]]


def _page(collector: PropertyCollector, session: str, left: Selected, most: int) -> Written | None:
    here, rest = left[:most], left[most:]
    if not here:
        return None
    token = ""
    if rest:
        name = str(next(collector.tokens))
        collector.pages[session, name] = rest
        token = f"<token>{name}</token>"
    present = [(each, paths) for each, paths in here if collector.vcenter.find(each.moid) is not None]
    return Written(f"<returnval>{token}{''.join(write_object(each, paths) for each, paths in present)}</returnval>")


@serves(vmodl.query.PropertyCollector, "RetrievePropertiesEx")
def retrieve(call: Call, collector: PropertyCollector, specSet: list[Any], options: Any) -> Written | None:
    most = options.maxObjects
    if most is not None and most < 1:
        raise vmodl.fault.InvalidArgument(invalidProperty="options.maxObjects")
    assert call.session is not None
    return _page(collector, call.session.key, _selected(call, specSet), min(most or PAGE_MAX, PAGE_MAX))


@serves(vmodl.query.PropertyCollector, "ContinueRetrievePropertiesEx")
def continue_retrieving(call: Call, collector: PropertyCollector, token: str) -> Written | None:
    assert call.session is not None
    left = collector.pages.pop((call.session.key, token), None)
    if left is None:
        raise vmodl.fault.InvalidArgument(invalidProperty="token")
    return _page(collector, call.session.key, left, PAGE_MAX)


@serves(vmodl.query.PropertyCollector, "CancelRetrievePropertiesEx")
def cancel_retrieving(call: Call, collector: PropertyCollector, token: str) -> None:
    assert call.session is not None
    if collector.pages.pop((call.session.key, token), None) is None:
        raise vmodl.fault.InvalidArgument(invalidProperty="token")


@serves(vmodl.query.PropertyCollector, "RetrieveProperties")
def retrieve_all(call: Call, collector: PropertyCollector, specSet: list[Any]) -> Written:
    selected = _selected(call, specSet)
    return Written("".join(write_object(each, paths, "returnval") for each, paths in selected))


@serves(vmodl.query.PropertyCollector, "CreatePropertyCollector")
def create_collector(call: Call, collector: PropertyCollector) -> Any:
    assert call.session is not None
    made = PropertyCollector(call.vcenter, call.vcenter.new_id("propertyCollector"))
    call.vcenter.keep(made, call.session)
    return made.ref


@serves(vmodl.query.PropertyCollector, "DestroyPropertyCollector")
def destroy_collector(call: Call, collector: PropertyCollector) -> None:
    if collector is call.vcenter.property_collector:
        raise vmodl.fault.NotSupported(msg="the service's own collector stays")
    for moid in collector.filters:
        call.vcenter.forget(moid)
    call.vcenter.forget(collector.moid)
    call.vcenter.changes.rouse()
