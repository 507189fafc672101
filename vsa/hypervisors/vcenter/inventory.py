"""The machines of a vCenter, all of them in a few calls, and one of them from the same properties."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from pyVmomi import vim

from vsa.hypervisors import MachineSeen
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.disks_seen import disks_seen
from vsa.hypervisors.vcenter.hidden import is_cloud, why_hidden
from vsa.hypervisors.vcenter.places import Places
from vsa.hypervisors.vcenter.tags import read_tags

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
)
_POWER = {"poweredOn": "on", "poweredOff": "off", "suspended": "suspended"}


class Surroundings:
    """What properties of a machine only point at: folders, pools, names of attributes, tags."""

    def __init__(self, connection: Connection, tags: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`tags` by machine; read where they are not given."""
        self.vcenter_uuid = connection.instance_uuid
        self.places = Places(connection.retrieve)
        self.cloud = is_cloud(self.places.names)
        self.attributes = _attribute_names(connection)
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
        return named and all(place is None or self.places.knows(place) for place in places)


def machines_of(connection: Connection, around: Surroundings) -> Iterator[MachineSeen]:
    """All that are not the hypervisor's own."""
    for machine, values in connection.retrieve(vim.VirtualMachine, PROPERTIES):
        seen = machine_seen(machine._moId, values, around)
        if seen is not None:
            yield seen


def machine_seen(moref: str, values: Mapping[str, Any], around: Surroundings) -> MachineSeen | None:
    """From its properties, which may lack what it does not have or we may not see. None where it is to be hidden."""
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
        reason=_why_not(values, uuid, [disk.reason for disk in disks]),
        resource_pool=pool,
        source=json.dumps(source, sort_keys=True),
    )


def machine_id(vcenter_uuid: str, instance_uuid: str, moref: str) -> str:
    """What recovery points are named by. A MoRef means another machine elsewhere: only where nothing else is."""
    return ":".join(part for part in (vcenter_uuid, instance_uuid or moref) if part)


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
