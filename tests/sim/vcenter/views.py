"""Views: lists of objects that clients keep with the service, of which the property collector can start."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.objects import Call, Simulated, serves


class ViewManager(Simulated):
    """Makes them."""

    kind = vim.view.ViewManager
    shown = {"viewList": lambda self: []}


class ContainerView(Simulated):
    """Everything below a container, of some types."""

    kind = vim.view.ContainerView
    shown = {
        "view": lambda self: [each.ref for each in self.members()],
        "container": lambda self: self.container.ref,
        "type": lambda self: self.types,
        "recursive": lambda self: self.recursive,
    }

    def __init__(self, vcenter: Any, moid: str, container: Simulated, types: list[type], recursive: bool) -> None:
        super().__init__(vcenter, moid)
        self.container, self.types, self.recursive = container, types, recursive
        self._structure = -1
        self._members: list[Any] = []

    def members(self) -> list[Any]:
        """As of now."""
        if self._structure != self.vcenter.changes.structure:
            wanted = tuple(self.types) or (vim.ManagedEntity,)
            self._members = [each for each in self._below(self.container) if issubclass(each.kind, wanted)]
            self._structure = self.vcenter.changes.structure
            self.written.clear()
        return self._members

    def _below(self, container: Any) -> list[Any]:
        found: dict[str, Any] = {}
        stack = list(container.contained())
        while stack:
            each = stack.pop()
            if each.moid not in found:
                found[each.moid] = each
                if self.recursive:
                    stack.extend(each.contained())
        return list(found.values())


class ListView(Simulated):
    """Just these objects."""

    kind = vim.view.ListView
    shown = {"view": lambda self: self.refs}

    def __init__(self, vcenter: Any, moid: str, refs: list[Any]) -> None:
        super().__init__(vcenter, moid)
        self.refs = refs


@serves(vim.view.ViewManager, "CreateContainerView", "System.View")
def create_container_view(
    call: Call, views: ViewManager, container: Any, type: Any = (), recursive: bool = False
) -> Any:
    assert call.session is not None
    found = call.vcenter.need(container)
    if not isinstance(
        found.kind(""), (vim.Folder, vim.Datacenter, vim.ComputeResource, vim.ResourcePool, vim.HostSystem)
    ):
        raise vmodl.fault.InvalidArgument(invalidProperty="container")
    made = ContainerView(call.vcenter, call.vcenter.new_id("session-view-"), found, list(type), recursive)
    call.vcenter.keep(made, call.session)
    return made.ref


@serves(vim.view.ViewManager, "CreateListView", "System.View")
def create_list_view(call: Call, views: ViewManager, obj: Any = ()) -> Any:
    assert call.session is not None
    made = ListView(call.vcenter, call.vcenter.new_id("session-list-"), list(obj))
    call.vcenter.keep(made, call.session)
    return made.ref


@serves(vim.view.ListView, "ModifyListView")
def modify_list_view(call: Call, view: ListView, add: Any = (), remove: Any = ()) -> list[Any]:
    gone = {each._moId for each in remove}
    view.refs = [each for each in view.refs if each._moId not in gone] + list(add)
    missing = [each for each in add if call.vcenter.find(each._moId) is None]
    view.touch()
    call.vcenter.changes.note_structure()
    return missing


@serves(vim.view.View, "DestroyView")
def destroy_view(call: Call, view: Simulated) -> None:
    call.vcenter.forget(view.moid)
    call.vcenter.changes.note_structure()
