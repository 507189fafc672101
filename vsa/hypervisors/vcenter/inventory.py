"""The machines of a vCenter, all of them in a few calls, and one of them from the same properties."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any
from urllib.parse import unquote

from pyVmomi import vim

from vsa.hypervisors import Leftovers, MachineSeen, SnapshotSeen
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.disks_seen import disks_seen
from vsa.hypervisors.vcenter.hidden import is_cloud, why_hidden
from vsa.hypervisors.vcenter.marks import mark_of, snapshots_of
from vsa.hypervisors.vcenter.places import Places
from vsa.hypervisors.vcenter.specification import MARK
from vsa.hypervisors.vcenter.tags import read_tags

RESTORING = f'config.extraConfig["{MARK}"]'
PROPERTIES = (
    "name",
    "parent",
    "parentVApp",
    "resourcePool",
    "customValue",
    "runtime.powerState",
    "runtime.connectionState",
    "summary.config.instanceUuid",  # also of a machine that is not connected, which has no `config`
    "config.template",
    "config.managedBy",
    "config.ftInfo",
    "config.hardware.device",
    RESTORING,
    "runtime.host",
    "datastore",
)
LEFTOVERS = ("snapshot", "runtime.consolidationNeeded")  # what a discovery looks at besides
_POWER = {"poweredOn": "on", "poweredOff": "off", "suspended": "suspended"}


class Surroundings:
    """What properties of a machine only point at: folders, pools, hosts, datastores, names of attributes, tags."""

    def __init__(self, connection: Connection, tags: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`tags` by machine; read where they are not given."""
        self.vcenter_uuid = connection.instance_uuid
        self.places = Places(connection.retrieve)
        self.cloud = is_cloud(self.places.names)
        self.attributes = _attribute_names(connection)
        self.name_by_store = {
            each._moId: unquote(str(values.get("name", each._moId)))
            for kind in (vim.HostSystem, vim.Datastore)
            for each, values in connection.retrieve(kind, ["name"])
        }
        if tags is None:
            tags = {}
            if connection.is_vcenter:
                machines = [machine._moId for machine, _ in connection.retrieve(vim.VirtualMachine, ["name"])]
                tags = read_tags(connection.rest, machines)
        self.tags = tags

    def covers(self, values: Mapping[str, Any]) -> bool:
        """Whether all that a machine's properties point at was there already."""
        places = [values.get(name) for name in ("parent", "parentVApp", "resourcePool")]
        named = all(each.key in self.attributes for each in values.get("customValue") or [])
        stores = [values.get("runtime.host"), *(values.get("datastore") or ())]
        known = all(each is None or each._moId in self.name_by_store for each in stores)
        return named and known and all(place is None or self.places.knows(place) for place in places)

    def name_of(self, store: Any) -> str:
        """Of a host or datastore; its id where its name may not be read."""
        return self.name_by_store.get(store._moId, str(store._moId))


def machines_of(connection: Connection, around: Surroundings) -> Iterator[MachineSeen]:
    """All that are not the hypervisor's own."""
    for machine, values in connection.retrieve(vim.VirtualMachine, (*PROPERTIES, *LEFTOVERS)):
        seen = machine_seen(machine._moId, values, around, look=True)
        if seen is not None:
            yield seen


def machine_seen(
    moref: str, values: Mapping[str, Any], around: Surroundings, *, look: bool = False
) -> MachineSeen | None:
    """From its properties, which may lack what it does not have or we may not see. None where it is to be hidden.

    `look`: they have LEFTOVERS too.
    """
    host = values.get("runtime.host")
    leftovers = _leftovers(values) if look else None
    folder = around.places.folder(values.get("parent"), values.get("parentVApp"))
    pool = around.places.pool(values.get("resourcePool"))
    if why_hidden(values, folder, pool, cloud=around.cloud) is not None:
        return None
    uuid = str(values.get("summary.config.instanceUuid") or "").lower()
    disks = disks_seen(values.get("config.hardware.device") or ())
    source = {"vcenter": around.vcenter_uuid, "moref": moref}
    return MachineSeen(
        id=machine_id(around.vcenter_uuid, uuid, moref),
        name=unquote(str(values.get("name", moref))),
        folder=folder,
        tags=around.tags.get(moref, ()),
        power_state=_POWER.get(str(values.get("runtime.powerState")), "unknown"),
        attributes=_attributes(values, around.attributes),
        disks=disks,
        reason=_half_made(values) or _why_not(values, uuid, [disk.reason for disk in disks]),
        resource_pool=pool,
        source=json.dumps(source, sort_keys=True),
        host=around.name_of(host) if host is not None else "",
        datastores=tuple(sorted(around.name_of(each) for each in values.get("datastore") or ())),
        leftovers=leftovers,
    )


def _leftovers(values: Mapping[str, Any]) -> Leftovers:
    found = []
    for node in snapshots_of(values.get("snapshot")):
        mark = mark_of(node.description)
        if mark is not None:
            taken_at = f"{node.createTime.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
            found.append(SnapshotSeen(mark.site, mark.job, mark.fence, taken_at))
    return Leftovers(tuple(found), bool(values.get("runtime.consolidationNeeded")), _restoring(values))


def _restoring(values: Mapping[str, Any]) -> str:
    """The job that has it half-made; empty for a machine like any other."""
    said = values.get(RESTORING)
    return str(said.value or "") if said is not None else ""


def machine_id(vcenter_uuid: str, instance_uuid: str, moref: str) -> str:
    """What recovery points are named by. A MoRef means another machine elsewhere: only where nothing else is."""
    return ":".join(part for part in (vcenter_uuid, instance_uuid or moref) if part)


def _half_made(values: Mapping[str, Any]) -> str | None:
    job = _restoring(values)
    return f"it is half-made by the restore of job {job}" if job else None


def _why_not(values: Mapping[str, Any], uuid: str, reasons: list[str | None]) -> str | None:
    state = str(values.get("runtime.connectionState", "connected"))
    if values.get("config.template"):
        return "it is a template"
    if state != "connected":
        return f"the vCenter cannot reach it: it is {state}"
    if not uuid:
        return "it has no instance uuid"
    if not reasons:
        return "it has no disk"
    if None not in reasons:
        return f"none of its disks can be protected: {reasons[0]}"
    return None


def _attribute_names(connection: Connection) -> dict[int, str]:
    fields = connection.content.customFieldsManager
    if fields is None:  # a single host
        return {}
    known = connection.properties(fields, "field").get("field") or []
    return {each.key: str(each.name) for each in known}


def _attributes(values: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, str]:
    found = values.get("customValue") or []
    return {names[each.key]: str(each.value) for each in found if each.key in names and each.value}
