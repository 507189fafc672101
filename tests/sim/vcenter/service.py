"""The service instance, and the managers that have little to say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pyVmomi import VmomiSupport, vim

from tests.sim.vcenter.answering import not_authenticated
from tests.sim.vcenter.inventory import Entity
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, Simulated, serves


class ServiceInstance(Simulated):
    """Where clients begin."""

    kind = vim.ServiceInstance
    shown = {
        "content": lambda self: self.content(),
        "serverClock": lambda self: self.vcenter.clock.now(),
        "capability": lambda self: vim.Capability(
            provisioningSupported=True, multiHostSupported=True, userShellAccessSupported=False
        ),
    }

    def content(self) -> Any:
        vcenter = self.vcenter
        return vim.ServiceInstanceContent(
            rootFolder=vcenter.root.ref,
            about=vim.AboutInfo(
                name="VMware vCenter Server",
                fullName="VMware vCenter Server 8.0.2 build-22385739",
                vendor="VMware, Inc.",
                version="8.0.2",
                build="22385739",
                localeVersion="INTL",
                localeBuild="000",
                osType="linux-x64",
                productLineId="vpx",
                apiType="VirtualCenter",
                apiVersion="8.0.2.0",
                instanceUuid=vcenter.instance_uuid,
                licenseProductName="VMware VirtualCenter Server",
                licenseProductVersion="8.0",
            ),
            **{name: each.ref for name, each in vcenter.services.items()},
        )


class OptionManager(Simulated):
    """Settings of the vCenter."""

    kind = vim.option.OptionManager
    shown = {"setting": lambda self: [], "supportedOption": lambda self: []}


class SearchIndex(Simulated):
    """Finds by uuid and by path."""

    kind = vim.SearchIndex


@serves(vim.ServiceInstance, "RetrieveServiceContent", needs_session=False)
def retrieve_content(call: Call, service: ServiceInstance) -> Any:
    return service.content()


@serves(vim.ServiceInstance, "CurrentTime", "System.View")
def current_time(call: Call, service: ServiceInstance) -> datetime:
    return service.vcenter.clock.now()


@serves(vim.option.OptionManager, "QueryOptions", "System.Read")
def query_options(call: Call, options: OptionManager, name: str | None = None) -> list[Any]:
    known = {"instance.id": 41, "VirtualCenter.InstanceName": call.vcenter.name}
    found = {key: value for key, value in known.items() if name is None or key == name or key.startswith(f"{name}.")}
    if not found:
        raise vim.fault.InvalidName(name=name or "", entity=None)
    return [vim.option.OptionValue(key=key, value=value) for key, value in found.items()]


@serves(vim.SearchIndex, "FindByUuid", "System.View")
def find_by_uuid(
    call: Call,
    index: SearchIndex,
    uuid: str,
    vmSearch: bool,
    datacenter: Any = None,
    instanceUuid: bool | None = None,
) -> Any:
    found = find_all_by_uuid(call, index, uuid, vmSearch, datacenter, instanceUuid)
    return found[0] if found else None


@serves(vim.SearchIndex, "FindAllByUuid", "System.View")
def find_all_by_uuid(
    call: Call,
    index: SearchIndex,
    uuid: str,
    vmSearch: bool,
    datacenter: Any = None,
    instanceUuid: bool | None = None,
) -> list[Any]:
    if not vmSearch:
        return []
    field = "instanceUuid" if instanceUuid else "uuid"
    machines: list[Machine] = [
        each for each in call.vcenter.machines() if call.vcenter.authorization.sees(call.user, each)
    ]
    return [each.ref for each in machines if getattr(each.config, field) == uuid.lower()]


@serves(vim.SearchIndex, "FindByInventoryPath", "System.View")
def find_by_path(call: Call, index: SearchIndex, inventoryPath: str) -> Any:
    here: Entity = call.vcenter.root
    for name in filter(None, inventoryPath.split("/")):
        found = next((each for each in here.contained() if each.value("name") == name), None)
        if found is None:
            return None
        here = found
    return here.ref if here is not call.vcenter.root else None


@serves(vim.SearchIndex, "FindChild", "System.View")
def find_child(call: Call, index: SearchIndex, entity: Any, name: str) -> Any:
    children = call.vcenter.need(entity).contained()
    return next((each.ref for each in children if each.value("name") == name), None)


@serves(VmomiSupport.ManagedObject, "Fetch", needs_session=False)
def fetch(call: Call, of: Simulated, prop: str) -> Any:
    """A property by itself, as pyVmomi asks for it."""
    if call.session is None and not (isinstance(of, ServiceInstance) or prop == "currentSession"):
        raise not_authenticated(of.ref)
    if prop == "currentSession" and of is call.vcenter.sessions:
        return None if call.session is None else call.session.shown()
    value = of.value(prop)
    if isinstance(value, list):
        info = of.kind._GetPropertyInfo(prop)
        return info.type(value) if value else None
    return value
