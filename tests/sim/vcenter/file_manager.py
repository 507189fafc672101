"""FileManager and VirtualDiskManager: files and disks that belong to no machine."""

from __future__ import annotations

import shutil
import uuid
from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter import files
from tests.sim.vcenter.disks import Disk, Layer
from tests.sim.vcenter.objects import Call, Simulated, serves
from tests.sim.vcenter.tasks import Task

MANAGE = "Datastore.FileManagement"


class FileManager(Simulated):
    """Directories and files."""

    kind = vim.FileManager


class VirtualDiskManager(Simulated):
    """Disks by the path of their vmdk."""

    kind = vim.VirtualDiskManager


def _place(call: Call, path: str, datacenter: Any = None) -> Any:
    store, inside = files.split(call.vcenter, path)
    call.vcenter.authorization.need(call.user, MANAGE, store)
    return store, inside


@serves(vim.FileManager, "MakeDirectory")
def make_directory(
    call: Call, manager: FileManager, name: str, datacenter: Any = None, createParentDirectories: bool | None = None
) -> None:
    store, inside = _place(call, name, datacenter)
    if (store.path / inside).exists() or (inside and files.has_directory(call.vcenter, store, inside)):
        raise vim.fault.FileAlreadyExists(file=name)
    if not createParentDirectories and not files.has_directory(call.vcenter, store, inside.rpartition("/")[0]):
        raise vim.fault.FileNotFound(file=name)
    (store.path / inside).mkdir(parents=True)


@serves(vim.FileManager, "DeleteDatastoreFile_Task")
def delete_file(call: Call, manager: FileManager, name: str, datacenter: Any = None) -> Any:
    store, inside = _place(call, name, datacenter)

    def work(task: Task) -> None:
        with call.vcenter.changes.lock:
            place = store.path / inside
            if place.is_dir() and inside:
                shutil.rmtree(place)
            elif (found := files.find(call.vcenter, store, inside)) is not None:
                found.unlink()
            else:
                raise vim.fault.FileNotFound(file=name)

    return call.vcenter.tasks.start(call, call.vcenter.root, work)


@serves(vim.FileManager, "CopyDatastoreFile_Task")
def copy_file(
    call: Call,
    manager: FileManager,
    sourceName: str,
    destinationName: str,
    sourceDatacenter: Any = None,
    destinationDatacenter: Any = None,
    force: bool | None = None,
) -> Any:
    from_store, from_inside = _place(call, sourceName, sourceDatacenter)
    to_store, to_inside = _place(call, destinationName, destinationDatacenter)

    def work(task: Task) -> None:
        with call.vcenter.changes.lock:
            found = files.find(call.vcenter, from_store, from_inside)
            if found is None:
                raise vim.fault.FileNotFound(file=sourceName)
            place = to_store.path / to_inside
            if place.exists() and not force:
                raise vim.fault.FileAlreadyExists(file=destinationName)
            if not files.has_directory(call.vcenter, to_store, to_inside.rpartition("/")[0]):
                raise vim.fault.FileNotFound(file=destinationName)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, place)

    return call.vcenter.tasks.start(call, call.vcenter.root, work)


def _loose(call: Call, name: str) -> Disk:
    for disk in call.vcenter.loose_disks:
        if disk.layers[-1].file_name == name:
            return disk
    raise vim.fault.FileNotFound(file=name)


@serves(vim.VirtualDiskManager, "CreateVirtualDisk_Task")
def create_disk(call: Call, manager: VirtualDiskManager, name: str, spec: Any, datacenter: Any = None) -> Any:
    store, inside = _place(call, name, datacenter)
    size = (getattr(spec, "capacityKb", 0) or 0) * 1024
    if size <= 0 or not inside.endswith(".vmdk"):
        raise vmodl.fault.InvalidArgument(invalidProperty="spec.capacityKb" if size <= 0 else "name")

    def work(task: Task) -> str:
        with call.vcenter.changes.lock:
            layer = Layer(store, inside, is_base=True)
            if layer.file_name in call.vcenter.disk_files():
                raise vim.fault.FileAlreadyExists(file=name)
            ident = str(uuid.uuid4())
            call.vcenter.loose_disks.append(Disk(0, ident, size, layer, ident))
            return layer.file_name

    return call.vcenter.tasks.start(call, call.vcenter.root, work)


@serves(vim.VirtualDiskManager, "DeleteVirtualDisk_Task")
def delete_disk(call: Call, manager: VirtualDiskManager, name: str, datacenter: Any = None) -> Any:
    _place(call, name, datacenter)

    def work(task: Task) -> None:
        with call.vcenter.changes.lock:
            disk = _loose(call, name)
            call.vcenter.loose_disks.remove(disk)
            for layer in disk.layers:
                layer.remove()

    return call.vcenter.tasks.start(call, call.vcenter.root, work)


@serves(vim.VirtualDiskManager, "QueryVirtualDiskUuid")
def disk_uuid(call: Call, manager: VirtualDiskManager, name: str, datacenter: Any = None) -> str:
    _place(call, name, datacenter)
    raw = uuid.UUID(_loose(call, name).uuid).bytes
    return f"{raw[:8].hex(' ')}-{raw[8:].hex(' ')}"


@serves(vim.VirtualDiskManager, "SetVirtualDiskUuid")
def set_disk_uuid(call: Call, manager: VirtualDiskManager, name: str, uuid: str, datacenter: Any = None) -> None:
    _place(call, name, datacenter)
    raw = uuid.replace(" ", "").replace("-", "")
    _loose(call, name).uuid = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
