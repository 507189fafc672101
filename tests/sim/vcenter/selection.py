"""What a filter of the property collector selects: objects by traversal, and paths by type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyVmomi import VmomiSupport, vmodl

from tests.sim.vcenter.objects import Simulated, properties_of, steps
from tests.sim.vcenter.soap import write_value

Collector = vmodl.query.PropertyCollector


class Selection:
    """One filter's specification, ready for use."""

    def __init__(self, vcenter: Any, spec: Any) -> None:
        self._vcenter = vcenter
        self._spec = spec
        self._by_name = {
            each.name: each
            for root in spec.objectSet
            for each in _all_specs(root.selectSet)
            if isinstance(each, Collector.TraversalSpec) and each.name
        }
        self._paths_by_kind: dict[type, list[str] | None] = {}
        for wanted in spec.propSet:
            known = properties_of(wanted.type)
            for path in wanted.pathSet:
                if path.partition(".")[0].partition("[")[0] not in known:
                    raise vmodl.query.InvalidProperty(name=path)

    def objects(self) -> list[Simulated]:
        """Everything selected, each once."""
        found: dict[str, Simulated] = {}
        for root in self._spec.objectSet:
            start = self._vcenter.find(root.obj._moId)
            if start is None:
                if self._spec.reportMissingObjectsInResults:
                    continue
                raise vmodl.fault.ManagedObjectNotFound(obj=root.obj)
            seen: set[tuple[str, int]] = set()
            stack: list[tuple[Simulated, Any, bool]] = [(start, root.selectSet, bool(root.skip))]
            while stack:
                here, selectors, skip = stack.pop()
                if not skip and self.paths(here) is not None:
                    found[here.moid] = here
                for selector in self._resolved(selectors):
                    if not issubclass(here.kind, selector.type) or (here.moid, id(selector)) in seen:
                        continue
                    seen.add((here.moid, id(selector)))
                    step = [(each, selector.selectSet, bool(selector.skip)) for each in self._step(here, selector)]
                    stack.extend(reversed(step))
        return list(found.values())

    def _resolved(self, selectors: Any) -> Iterator[Any]:
        for each in selectors:
            if isinstance(each, Collector.TraversalSpec):
                yield each
            elif each.name in self._by_name:
                yield self._by_name[each.name]
            else:
                raise vmodl.fault.InvalidArgument(invalidProperty="selectSet", msg=f"no traversal {each.name}")

    def _step(self, here: Simulated, selector: Any) -> Iterator[Simulated]:
        value = here.value(selector.path)
        for ref in value if isinstance(value, list) else [value]:
            if isinstance(ref, VmomiSupport.ManagedObject):
                found = self._vcenter.find(ref._moId)
                if found is not None:
                    yield found

    def paths(self, of: Simulated) -> list[str] | None:
        """The paths wanted of an object, None where its type is not asked for. The narrowest specification counts."""
        kind = of.kind
        if kind not in self._paths_by_kind:
            fitting = [each for each in self._spec.propSet if issubclass(kind, each.type)]
            fitting.sort(key=lambda each: kind.__mro__.index(each.type))
            if not fitting:
                self._paths_by_kind[kind] = None
            elif fitting[0].all:
                self._paths_by_kind[kind] = sorted(properties_of(kind) & set(of._all_shown))
            else:
                self._paths_by_kind[kind] = list(fitting[0].pathSet)
        return self._paths_by_kind[kind]


def _all_specs(specs: Any) -> Iterator[Any]:
    for each in specs:
        yield each
        yield from _all_specs(getattr(each, "selectSet", []))


def written(of: Simulated, path: str) -> str | None:
    """A property's value as `<val>`, None when it is unset. Kept until the object changes."""
    if path not in of.written:
        known, text = of.likeness(path)
        of.written[path] = text if known else write_property(of.kind, path, of.value(path))
    return of.written[path]


def write_property(kind: type, path: str, value: Any) -> str | None:
    """A value as `<val>`; a plain list is of the type that the property's description says."""
    if isinstance(value, list) and not isinstance(value, VmomiSupport.Array):
        if not value:
            return None
        for step in steps(path):
            kind = kind._GetPropertyInfo(step.partition("[")[0]).type
            kind = kind.Item if "[" in step else kind  # one of a list, by its key
        value = kind(value)
    return None if value is None else write_value("val", value)
