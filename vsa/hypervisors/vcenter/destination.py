"""Where in a vCenter a machine comes back: its pool, folder, datastores and networks, found by name.

Everything is looked up before anything is made, and what is missing is named with what there is. What a restore does
not name is where it was; where that is not there, it is what VMware Cloud on AWS lets its users use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vsa.faults import DatastoreFull, HardwareUnsupported, PlaceMissing
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.description import inventory_path
from vsa.hypervisors.vcenter.places import Places

CLOUD_POOL, CLOUD_DATASTORE, CLOUD_FOLDER = "Compute-ResourcePool", "WorkloadDatastore", "Workloads"
_SHOWN = 12  # names in a message
_DEPTH_MAX = 64


@dataclass(frozen=True)
class Destination:
    """Found. `datacenter` is a path, for files; datastores and networks are those of the pool's cluster, by name."""

    pool: Any
    folder: Any
    datacenter: str
    datastores: Mapping[str, int]  # name -> free bytes
    networks: Mapping[str, Any]
    versions: frozenset[str]  # of virtual hardware that can be made there; empty where nobody tells


def find_destination(connection: Connection, pool: str, own_pool: str, folder: str, own_folder: str) -> Destination:
    """By what was asked for, else by where the machine was. Raises PlaceMissing."""
    places = Places(connection.retrieve)
    pools = {places.pool(each): each for each, _ in connection.retrieve(vim.ResourcePool, ["name"])}
    found_pool = _one("resource pool", pool, own_pool, CLOUD_POOL, pools)
    owner = connection.properties(found_pool, "owner")["owner"]
    cluster = connection.properties(owner, "datastore", "network", "environmentBrowser", "parent")
    datacenter = _datacenter(connection, cluster.get("parent"))
    root = connection.properties(datacenter, "vmFolder")["vmFolder"]
    folders = {places.folder(each, None): each for each, _ in connection.retrieve(vim.Folder, ["name"], root)}
    if not (folder or own_folder):  # the top, where the users of a cloud make nothing
        in_cloud = CLOUD_POOL in places.pool(found_pool).split("/")
        own_folder = CLOUD_FOLDER if in_cloud else places.folder(root, None)
    stores = {each._moId for each in cluster.get("datastore") or []}
    nets = {each._moId for each in cluster.get("network") or []}
    return Destination(
        pool=found_pool,
        folder=_one("folder", folder, own_folder, CLOUD_FOLDER, {**folders, places.folder(root, None): root}),
        datacenter=inventory_path(connection, root)[0],
        datastores={
            about["name"]: int(about.get("summary.freeSpace") or 0)
            for each, about in connection.retrieve(vim.Datastore, ["name", "summary.freeSpace"], datacenter)
            if each._moId in stores
        },
        networks={
            str(about["name"]).replace("%2f", "/"): each
            for each, about in connection.retrieve(vim.Network, ["name"], datacenter)
            if each._moId in nets
        },
        versions=_versions(connection, cluster.get("environmentBrowser")),
    )


def choose_datastore(destination: Destination, name: str, asked: Mapping[str, str]) -> str:
    """Where what was on datastore `name` goes. Raises PlaceMissing."""
    wanted = asked.get(name) or asked.get("")
    there = destination.datastores
    return str(_choose("datastore", wanted, name, CLOUD_DATASTORE, {each: each for each in there}, "--datastore"))


def choose_network(connection: Connection, destination: Destination, name: str, asked: Mapping[str, str]) -> Any:
    """The backing of a card that was on network `name`. Raises PlaceMissing."""
    wanted = asked.get(name) or asked.get("")
    found = _choose("network", wanted, name, "", destination.networks, "--network")
    return _backing(connection, found, next(key for key, each in destination.networks.items() if each is found))


def check_room(destination: Destination, wanted: Mapping[str, int]) -> None:
    """`wanted` bytes by datastore. Raises DatastoreFull."""
    for name, count in wanted.items():
        if count > destination.datastores[name]:
            raise DatastoreFull(f"datastore {name}: expected {count} free bytes, found {destination.datastores[name]}")


def check_hardware(destination: Destination, version: str) -> None:
    """Raises HardwareUnsupported."""
    if destination.versions and version and version not in destination.versions:
        known = ", ".join(sorted(destination.versions, key=lambda each: int(each.removeprefix("vmx-") or 0)))
        raise HardwareUnsupported(f"virtual hardware {version}: expected one that can be made there: {known}")


def _one(what: str, asked: str, own: str, cloud: str, by_path: Mapping[str, Any]) -> Any:
    """By path, or by the end of a path."""
    ends: dict[str, list[Any]] = {}
    for path, each in by_path.items():
        parts = path.split("/")
        for start in range(len(parts)):
            ends.setdefault("/".join(parts[start:]), []).append(each)
        ends[path] = [each]
    wanted = asked.strip("/") or own
    for name in [wanted] if asked else [wanted, cloud]:
        found = ends.get(name, [])
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise PlaceMissing(f"{what} {name!r}: expected one, found {len(found)}: {shown(list(by_path))}")
    option = f"--{what.rpartition(' ')[2]}"
    raise PlaceMissing(f"{what} {wanted!r} is not there; there are {shown(list(by_path))}; {option} names one")


def _choose(what: str, asked: str | None, own: str, cloud: str, there: Mapping[str, Any], option: str) -> Any:
    for name in [asked] if asked else [own, cloud]:
        if name in there:
            return there[name]
    wanted = asked or own
    raise PlaceMissing(
        f"{what} {wanted!r} is not there; there are {shown(list(there))}; {option} '{own}=NAME' names another"
    )


def shown(names: Sequence[str]) -> str:
    """For a message: the first of them."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more or "none"


def _datacenter(connection: Connection, managed: Any) -> Any:
    for _ in range(_DEPTH_MAX):
        if managed is None or isinstance(managed, vim.Datacenter):
            break
        managed = connection.properties(managed, "parent").get("parent")
    if managed is None:
        raise PlaceMissing("the resource pool is in no datacenter that this user may see")
    return managed


def _versions(connection: Connection, browser: Any) -> frozenset[str]:
    if browser is None:
        return frozenset()
    options = connection.read(browser.QueryConfigOptionDescriptor) or []
    return frozenset(str(each.key) for each in options if each.createSupported is not False)


def _backing(connection: Connection, network: Any, name: str) -> Any:
    card = vim.vm.device.VirtualEthernetCard
    if isinstance(network, vim.dvs.DistributedVirtualPortgroup):
        about = connection.properties(network, "key", "config.distributedVirtualSwitch")
        switch = connection.properties(about["config.distributedVirtualSwitch"], "uuid")["uuid"]
        port = vim.dvs.PortConnection(portgroupKey=about["key"], switchUuid=switch)
        return card.DistributedVirtualPortBackingInfo(port=port)
    if isinstance(network, vim.OpaqueNetwork):
        summary = connection.properties(network, "summary")["summary"]
        return card.OpaqueNetworkBackingInfo(
            opaqueNetworkId=summary.opaqueNetworkId, opaqueNetworkType=summary.opaqueNetworkType
        )
    return card.NetworkBackingInfo(deviceName=name, network=network)
