"""What is kept of a machine in a recovery point besides its disks, and read back from it: one JSON object.

    source    "vcenter"
    vcenter   address, instance_uuid, version
    machine   name, uuids, where it was (datacenter, folder, pool), tags, custom values: for people and for maps
    networks  of each card: device key, label, network's name, kind and key
    disks     of each disk, also those that are not protected
    policies  names of storage policies, of its home and of disks by key; `unread` says why they are not known
    files     nvram and vmx, base64
    config    vSphere's own description of the machine, whole (`objects`)

Everything but `config` and `files` is there to be read without vSphere's documentation at hand.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from media.recovery_point import JSON
from runtime.faults import Fault
from vsa.faults import DescriptionInvalid
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.datastore_files import read_file, split_path
from vsa.hypervisors.vcenter.devices import datastore_name, disk_key, label
from vsa.hypervisors.vcenter.objects import from_json, to_json
from vsa.hypervisors.vcenter.policies import Policies, read_policies
from vsa.hypervisors.vcenter.specification import would_not_come_back
from vsa.hypervisors.vcenter.tags import read_tags

SOURCE = "vcenter"
_DEPTH_MAX = 64


@dataclass(frozen=True)
class Saved:
    """A description that was read back. `config` is the data object."""

    config: Any
    name: str
    folder: str
    pool: str
    networks: dict[int, str]  # device key of a card -> name of its network
    custom_values: dict[str, str]
    tags: list[str]  # `Category:Name`
    nvram: bytes | None
    policies: Policies


def describe(
    connection: Connection, machine: Any, config: Any, protected: frozenset[str], warn: Callable[[str], None]
) -> JSON:
    """Of a machine whose snapshot has `config`; `protected` are the keys of the disks that are backed up.

    What cannot be kept, or would not come back, is a warning. Raises HypervisorUnreachable, MachineMissing.
    """
    about = connection.properties(
        machine, "name", "parent", "parentVApp", "resourcePool", "network", "customValue", "availableField"
    )
    datacenter, folder = inventory_path(connection, about.get("parent") or about.get("parentVApp"))
    names = dict(_network_names(connection, about.get("network") or []))
    fields = {field.key: field.name for field in about.get("availableField") or []}
    values = about.get("customValue") or []
    files = dict(_files(connection, datacenter, config, warn))
    disks = _devices(config, vim.vm.device.VirtualDisk)
    for lost in would_not_come_back(config, protected):
        warn(f"a restore would not bring back all: {lost}")
    return {
        "source": SOURCE,
        "vcenter": {
            "address": connection.address,
            "instance_uuid": connection.instance_uuid,
            "version": str(connection.about.fullName),
        },
        "machine": {
            "name": about.get("name", config.name),
            "instance_uuid": str(config.instanceUuid or "").lower(),
            "bios_uuid": str(config.uuid or "").lower(),
            "moref": machine._GetMoId(),  # a hint for people who read logs
            "hardware_version": config.version,
            "firmware": config.firmware,
            "guest": config.guestFullName,
            "datacenter": datacenter,
            "folder": folder,
            "pool": pool_path(connection, about.get("resourcePool")),
            "tags": _tags(connection, machine, warn),
            "custom_values": {fields[each.key]: each.value for each in values if each.key in fields},
        },
        "networks": [_network(card, names) for card in _devices(config, vim.vm.device.VirtualEthernetCard)],
        "disks": [_disk(disk, protected) for disk in disks],
        "policies": read_policies(connection, machine, disks).as_json(),
        "files": files,
        "config": to_json(config),
    }


def read_saved(description: JSON) -> Saved:
    """Raises DescriptionInvalid: what is missing, or not of a vCenter."""
    if description.get("source") != SOURCE:
        raise DescriptionInvalid(
            f"source: expected the description of a machine of a vCenter, found {description.get('source')!r}"
        )
    try:
        machine = description["machine"]
        nvram = description["files"].get("nvram")
        return Saved(
            config=from_json(description["config"]),
            name=machine["name"],
            folder=machine["folder"],
            pool=machine["pool"],
            networks={each["device"]: each["network"] for each in description["networks"]},
            custom_values=dict(machine["custom_values"]),
            tags=[str(each) for each in machine["tags"]],
            nvram=None if nvram is None else base64.b64decode(nvram["content"]),
            policies=Policies(**description.get("policies", {})),  # points of before have none
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DescriptionInvalid(f"description: expected what a backup keeps of a machine, found {error!r}") from error


def inventory_path(connection: Connection, folder: Any) -> tuple[str, str]:
    """The path of its datacenter, and of `folder` below the datacenter's folder of machines, `Workloads/shop`."""
    above: list[str] = []
    below: list[str] = []
    names, managed = above, folder
    for _ in range(_DEPTH_MAX):
        if managed is None:
            break
        about = connection.properties(managed, "name", "parent")
        parent = about.get("parent")
        if isinstance(managed, vim.Datacenter):
            below, names = above[:-1], []  # without the folder of machines itself, `vm`
        if parent is not None:  # the root has a name that is not part of any path
            names.append(str(about.get("name", "")).replace("%2f", "/"))
        managed = parent
    return "/".join(reversed(names)), "/".join(reversed(below))


def pool_path(connection: Connection, pool: Any) -> str:
    """`Cluster-1/Compute-ResourcePool/shop`; just the cluster's name for its own pool."""
    names: list[str] = []
    for _ in range(_DEPTH_MAX):
        if pool is None or isinstance(pool, (vim.Folder, vim.Datacenter)):
            break
        about = connection.properties(pool, "name", "parent")
        parent = about.get("parent")
        if not isinstance(parent, vim.ComputeResource):  # the root pool of every cluster is called Resources
            names.append(str(about.get("name", "")))
        pool = parent
    return "/".join(reversed(names))


def _tags(connection: Connection, machine: Any, warn: Callable[[str], None]) -> list[str]:
    if not connection.is_vcenter:
        return []
    try:
        return list(read_tags(connection.rest, [str(machine._moId)]).get(str(machine._moId), ()))
    except Fault as fault:
        warn(f"its tags are not kept: {fault}")
        return []


def _files(
    connection: Connection, datacenter: str, config: Any, warn: Callable[[str], None]
) -> Iterator[tuple[str, JSON]]:
    vmx = str(config.files.vmPathName or "") if config.files is not None else ""
    option = next((each.value for each in config.extraConfig or [] if each.key == "nvram"), None)
    wanted = {"vmx": vmx}
    if option and vmx:
        wanted["nvram"] = str(option) if str(option).startswith("[") else f"{vmx.rpartition('/')[0]}/{option}"
    for kind, path in wanted.items():
        if not split_path(path)[1]:
            continue
        try:
            content = read_file(connection, datacenter, path)
        except Fault as fault:
            # Without nvram an EFI machine starts with the boot entries of a new one: worth a word, not a failed backup.
            warn(f"its {kind} is not kept: {fault}")
            continue
        yield kind, {"path": path, "content": base64.b64encode(content).decode()}


def _network(card: Any, names: dict[str, str]) -> JSON:
    backing = card.backing
    about = {"device": card.key, "label": label(card), "mac": card.macAddress}
    if isinstance(backing, vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo):
        key = str(backing.port.portgroupKey or "")
        return {**about, "kind": "distributed", "key": key, "network": names.get(key, key)}
    if isinstance(backing, vim.vm.device.VirtualEthernetCard.OpaqueNetworkBackingInfo):
        key = str(backing.opaqueNetworkId)
        return {**about, "kind": "opaque", "key": key, "network": names.get(key, key)}
    key = backing.network._GetMoId() if getattr(backing, "network", None) is not None else ""
    name = names.get(key) or str(getattr(backing, "deviceName", "") or "")
    return {**about, "kind": "standard", "key": key, "network": name}


def _disk(disk: Any, protected: frozenset[str]) -> JSON:
    backing = disk.backing
    key = disk_key(disk)
    return {
        "key": key,
        "label": label(disk),
        "protected": key in protected,
        "device": disk.key,
        "controller": disk.controllerKey,
        "unit": disk.unitNumber,
        "size": int(disk.capacityInBytes or disk.capacityInKB * 1024),
        "backing": type(backing).__name__.rpartition(".")[2],
        "file": getattr(backing, "fileName", None),
        "datastore": datastore_name(getattr(backing, "fileName", None) or ""),
        "mode": getattr(backing, "diskMode", None),
        "uuid": getattr(backing, "uuid", None),
        "thin": getattr(backing, "thinProvisioned", None),
        "eager": getattr(backing, "eagerlyScrub", None),
        "sharing": getattr(backing, "sharing", None),
        "object_id": disk.diskObjectId,
    }


def _devices(config: Any, kind: Any) -> list[Any]:
    return [device for device in config.hardware.device or [] if isinstance(device, kind)]


def _network_names(connection: Connection, networks: list[Any]) -> Iterator[tuple[str, str]]:
    """By what the backing of a card calls a network."""
    for network in networks:
        found = connection.properties(network, "name", "summary")
        name = str(found.get("name", "")).replace("%2f", "/")
        yield network._GetMoId(), name  # what a distributed port group is called by too
        opaque = getattr(found.get("summary"), "opaqueNetworkId", None)
        if opaque:
            yield str(opaque), name
