"""Which privileges the user of a connection lacks, and on what: asked before work fails for want of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.hidden import is_cloud, why_hidden
from vsa.hypervisors.vcenter.inventory import Surroundings

_BATCH = 250  # objects asked about in one call
_NAMED = 5  # objects that are named where many lack a privilege


@dataclass(frozen=True)
class Need:
    """A privilege, on which kind of object, for what."""

    privilege: str
    on: str  # machine | folder | pool | datastore | network | vcenter
    purpose: str  # backup | restore


NEEDS = (
    *(
        Need(privilege, "machine", "backup")
        for privilege in (
            "VirtualMachine.State.CreateSnapshot",
            "VirtualMachine.State.RemoveSnapshot",
            "VirtualMachine.Config.ChangeTracking",
            "VirtualMachine.Provisioning.DiskRandomRead",
        )
    ),
    Need("Datastore.Browse", "datastore", "backup"),
    Need("Datastore.FileManagement", "datastore", "backup"),
    Need("StorageProfile.View", "vcenter", "backup"),  # and restore: the names of storage policies
    *(
        Need(privilege, "folder", "restore")
        for privilege in (
            "VirtualMachine.Inventory.Create",
            "VirtualMachine.Inventory.Delete",
            "VirtualMachine.Config.AddNewDisk",
            "VirtualMachine.Config.AddRemoveDevice",
            "VirtualMachine.Config.AdvancedConfig",
            "VirtualMachine.Config.DiskExtend",
            "VirtualMachine.Config.EditDevice",
            "VirtualMachine.Config.RemoveDisk",
            "VirtualMachine.Config.Rename",
            "VirtualMachine.Config.Settings",
            "VirtualMachine.Interact.PowerOff",
            "VirtualMachine.Interact.PowerOn",
            "VirtualMachine.Provisioning.DiskRandomAccess",
        )
    ),
    Need("Resource.AssignVMToPool", "pool", "restore"),
    Need("Datastore.AllocateSpace", "datastore", "restore"),
    Need("Network.Assign", "network", "restore"),
)


@dataclass(frozen=True)
class Missing:
    """A privilege that is missing on some objects of a kind: the names of the first of them, and how many there are."""

    need: Need
    names: tuple[str, ...]
    count: int
    of: int  # objects of this kind


def missing_privileges(connection: Connection) -> list[Missing]:
    """In the order of `NEEDS`. What is the hypervisor's own is left out."""
    found = []
    for kind, objects in _objects(connection).items():
        needs = [need for need in NEEDS if need.on == kind]
        lacking: dict[str, list[str]] = defaultdict(list)
        names = {managed._moId: name for managed, name in objects}
        for managed, privilege in _lacking(connection, [each for each, _ in objects], needs):
            lacking[privilege].append(names[managed._moId])
        found += [
            Missing(need, tuple(sorted(lacking[need.privilege])[:_NAMED]), len(lacking[need.privilege]), len(objects))
            for need in needs
            if lacking[need.privilege]
        ]
    return sorted(found, key=lambda each: NEEDS.index(each.need))


def _objects(connection: Connection) -> dict[str, list[tuple[Any, str]]]:
    around = Surroundings(connection, tags={})
    own = ("Mgmt-ResourcePool", "Management VMs", "vsanDatastore") if is_cloud(around.places.names) else ()
    paths = ["name", "parent", "resourcePool", "config.managedBy", "config.ftInfo"]
    machines = []
    for machine, values in connection.retrieve(vim.VirtualMachine, paths):
        folder, pool = around.places.folder(values.get("parent"), None), around.places.pool(values.get("resourcePool"))
        if why_hidden(values, folder, pool, cloud=around.cloud) is None:
            machines.append((machine, f"machine {values.get('name', machine._moId)}"))
    kinds = {"pool": vim.ResourcePool, "datastore": vim.Datastore, "network": vim.Network}
    found = {"machine": machines, "folder": _machine_folders(connection, own)}
    if connection.is_vcenter:  # a host has no storage policies
        found["vcenter"] = [(connection.content.rootFolder, "the vCenter")]
    for word, kind in kinds.items():
        rows = connection.retrieve(kind, ["name"])
        named = [(managed, str(values.get("name", managed._moId))) for managed, values in rows]
        found[word] = [(managed, f"{word} {name}") for managed, name in named if name not in own]
    return found


def _machine_folders(connection: Connection, own: Sequence[str]) -> list[tuple[Any, str]]:
    """Folders that may hold machines: their `childType` says so."""
    rows = connection.retrieve(vim.Folder, ["name", "childType"])
    return [
        (folder, f"folder {values.get('name', folder._moId)}")
        for folder, values in rows
        if "VirtualMachine" in {str(each).rpartition(".")[2] for each in values.get("childType") or ()}
        and values.get("name") not in own
    ]


def _lacking(connection: Connection, objects: Sequence[Any], needs: Sequence[Need]) -> Iterator[tuple[Any, str]]:
    """Each object with each privilege that it lacks."""
    manager = connection.content.authorizationManager
    privileges = [need.privilege for need in needs]
    for start in range(0, len(objects), _BATCH):
        session = connection.read(lambda: connection.content.sessionManager.currentSession)
        asked = objects[start : start + _BATCH]
        for each in connection.read(manager.HasPrivilegeOnEntities, asked, session.key, privileges):
            for said in each.privAvailability:
                if not said.isGranted:
                    yield each.entity, said.privId
