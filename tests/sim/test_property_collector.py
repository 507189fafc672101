"""Reading the inventory, in pages and as it changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.sim.connected import Collector, connected, machine_of, result, view_spec
from tests.sim.vcenter.vcenter import Vcenter

PATHS = ["name", "config.instanceUuid", "runtime.powerState"]


def pages(service: Any, spec: Any, most: int) -> Iterator[list[Any]]:
    collector = service.content.propertyCollector
    page = collector.RetrievePropertiesEx([spec], Collector.RetrieveOptions(maxObjects=most))
    while page is not None:
        yield list(page.objects)
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None


def test_every_machine_comes_once_in_pages(vcenter: Vcenter, service: Any) -> None:
    names = {f"vm{number}" for number in range(25)}
    for name in names:
        vcenter.add_machine(name, [1 << 30])
    found = list(pages(service, view_spec(service, vim.VirtualMachine, PATHS), 10))
    assert len(found[0]) == 10
    rows = [{each.name: each.val for each in row.propSet} for page in found for row in page]
    assert sorted(row["name"] for row in rows) == sorted(names)
    assert len({row["config.instanceUuid"] for row in rows}) == 25


def test_a_traversal_of_folders_finds_what_lies_deep(vcenter: Vcenter, service: Any) -> None:
    deep = service.content.rootFolder.childEntity[0].vmFolder.CreateFolder("a").CreateFolder("b/c")
    web = vcenter.add_machine("web", [1 << 30], folder="b/c")
    children = Collector.TraversalSpec(
        name="children",
        type=vim.Folder,
        path="childEntity",
        skip=False,
        selectSet=[Collector.SelectionSpec(name="children"), Collector.SelectionSpec(name="machines")],
    )
    machines = Collector.TraversalSpec(
        name="machines",
        type=vim.Datacenter,
        path="vmFolder",
        skip=False,
        selectSet=[Collector.SelectionSpec(name="children")],
    )
    spec = Collector.FilterSpec(
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", "parent"])],
        objectSet=[Collector.ObjectSpec(obj=service.content.rootFolder, skip=True, selectSet=[children, machines])],
    )
    [[row]] = pages(service, spec, 10)
    assert row.obj._moId == web.moid
    assert {each.name: each.val for each in row.propSet}["parent"] == deep
    assert deep.name == "b%2fc"


def test_a_property_that_does_not_exist_is_refused(vcenter: Vcenter, service: Any) -> None:
    with pytest.raises(vmodl.query.InvalidProperty) as refused:
        list(pages(service, view_spec(service, vim.VirtualMachine, ["nothing"]), 10))
    assert refused.value.name == "nothing"


def wait(collector: Any, version: str, seconds: int = 20, most: int | None = None) -> Any:
    return collector.WaitForUpdatesEx(version, Collector.WaitOptions(maxWaitSeconds=seconds, maxObjectUpdates=most))


def updated(update: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        each.obj._moId: (str(each.kind), {change.name: change.val for change in each.changeSet})
        for part in update.filterSet
        for each in part.objectSet
    }


def test_updates_tell_what_entered_changed_and_left(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [1 << 30])
    collector = service.content.propertyCollector.CreatePropertyCollector()
    collector.CreateFilter(view_spec(service, vim.VirtualMachine, PATHS), False)
    first = wait(collector, "")
    assert updated(first)[web.moid][0] == "enter"
    assert wait(collector, first.version, seconds=0) is None
    web.power_off()
    second = wait(collector, first.version)
    assert updated(second) == {web.moid: ("modify", {"runtime.powerState": "poweredOff"})}
    assert updated(wait(collector, first.version)) == updated(second)  # what was not confirmed is told again
    result(machine_of(service, web.moid).Destroy_Task())
    db = vcenter.add_machine("db", [1 << 30])
    kinds: dict[str, str] = {}
    version = second.version
    while len(kinds) < 2:
        update = wait(collector, version)
        version = update.version
        kinds |= {moid: kind for moid, (kind, _) in updated(update).items()}
    assert kinds == {web.moid: "leave", db.moid: "enter"}


def test_more_updates_than_asked_for_come_truncated_and_then_the_rest(vcenter: Vcenter, service: Any) -> None:
    machines = {vcenter.add_machine(f"vm{number}", [1 << 30]).moid for number in range(5)}
    collector = service.content.propertyCollector
    collector.CreateFilter(view_spec(service, vim.VirtualMachine, PATHS), False)
    seen: list[str] = []
    flags: list[bool] = []
    version = ""
    while not flags or flags[-1]:
        update = wait(collector, version, most=2)
        version = update.version
        seen += updated(update)
        flags.append(bool(update.truncated))
    assert flags == [True, True, False]
    assert sorted(seen) == sorted(machines)


def test_an_unknown_version_is_refused(vcenter: Vcenter, service: Any) -> None:
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        wait(service.content.propertyCollector, "17")


def test_versions_that_the_service_forgot_are_refused_and_a_new_beginning_works(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [1 << 30])
    collector = service.content.propertyCollector
    collector.CreateFilter(view_spec(service, vim.VirtualMachine, PATHS), False)
    version = wait(collector, "").version
    vcenter.forget_updates()
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        wait(collector, version)
    assert updated(wait(collector, ""))[web.moid][0] == "enter"


def test_waiting_ends_when_somebody_cancels_it(vcenter: Vcenter, service: Any) -> None:
    vcenter.add_machine("web", [1 << 30])
    collector = service.content.propertyCollector.CreatePropertyCollector()
    collector.CreateFilter(view_spec(service, vim.VirtualMachine, PATHS), False)
    version = wait(collector, "").version
    met: list[Exception] = []

    def waiting() -> None:
        try:
            wait(collector, version, seconds=60)
        except vmodl.fault.RequestCanceled as error:
            met.append(error)

    thread = threading.Thread(target=waiting)
    thread.start()
    while thread.is_alive():
        collector.CancelWaitForUpdates()
        thread.join(0.05)
    assert len(met) == 1


def test_waiting_ends_with_the_session(vcenter: Vcenter) -> None:
    with connected(vcenter) as one:
        vcenter.add_machine("web", [1 << 30])
        collector = one.content.propertyCollector
        collector.CreateFilter(view_spec(one, vim.VirtualMachine, PATHS), False)
        version = wait(collector, "").version
        met: list[Exception] = []

        def waiting() -> None:
            try:
                wait(collector, version, seconds=60)
            except vim.fault.NotAuthenticated as error:
                met.append(error)

        thread = threading.Thread(target=waiting)
        thread.start()
        while thread.is_alive():
            vcenter.expire_sessions()
            thread.join(0.05)
        assert len(met) == 1
        one.content.sessionManager.Login(vcenter.user, vcenter.password)
