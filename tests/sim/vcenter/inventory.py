"""The inventory's tree: folders, datacenters, clusters, hosts, pools, datastores, networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.sim.vcenter.objects import Call, Simulated, serves

if TYPE_CHECKING:
    from tests.sim.vcenter.machine import Machine

GIB = 1 << 30


class Entity(Simulated):
    """Anything with a name and a parent. `contained` is what is below it, in every sense that a view follows."""

    kind = vim.ManagedEntity
    prefix = ""
    shown = {
        "name": lambda self: escaped(self.name),
        "parent": lambda self: self.parent.ref if self.parent is not None else None,
        "overallStatus": lambda self: "green",
        "configStatus": lambda self: "green",
        "alarmActionsEnabled": lambda self: True,
        "customValue": lambda self: self.custom_values(),
        "value": lambda self: self.custom_values(),
        "availableField": lambda self: self.vcenter.custom_fields.of(self.kind),
        "recentTask": lambda self: [each.ref for each in self.recent_tasks],
        "permission": lambda self: self.vcenter.authorization.on(self),
        "disabledMethod": lambda self: sorted(self.disabled_methods),
        "effectiveRole": lambda self: [],
        "tag": lambda self: [],
        "triggeredAlarmState": lambda self: [],
        "declaredAlarmState": lambda self: [],
        "configIssue": lambda self: [],
    }

    def __init__(self, vcenter: Any, name: str, parent: Entity | None, moid: str = "") -> None:
        super().__init__(vcenter, moid or vcenter.new_id(self.prefix))
        self.name = name
        self.parent = parent
        self.recent_tasks: list[Any] = []
        self.disabled_methods: set[str] = set()
        self.custom: dict[int, str] = {}
        vcenter.add(self)

    def contained(self) -> Iterable[Entity]:
        return ()

    def rename(self, name: str) -> None:
        self.name = name
        self.touch()

    def custom_values(self) -> list[Any]:
        return [vim.CustomFieldsManager.StringValue(key=key, value=value) for key, value in sorted(self.custom.items())]

    def ancestors(self) -> Iterator[Entity]:
        """Itself first."""
        here: Entity | None = self
        while here is not None:
            yield here
            here = here.parent


def escaped(name: str) -> str:
    """Names are told with these three characters escaped."""
    return name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")


class Folder(Entity):
    """A folder of datacenters (d), machines (v), hosts (h), datastores (s) or networks (n)."""

    kind = vim.Folder
    shown = {
        "childType": lambda self: _CHILD_TYPES[self.letter],
        "childEntity": lambda self: [each.ref for each in self.children],
    }

    def __init__(self, vcenter: Any, name: str, parent: Entity | None, letter: str) -> None:
        self.letter = letter
        self.children: list[Entity] = []
        super().__init__(vcenter, name, parent, vcenter.new_id(f"group-{letter}"))

    def contained(self) -> list[Entity]:
        return self.children

    def put(self, child: Entity) -> None:
        """A child comes from where it was."""
        if isinstance(child.parent, Folder) and child in child.parent.children:
            child.parent.children.remove(child)
            child.parent.touch()
        child.parent = self
        self.children.append(child)
        self.touch()
        child.touch()
        self.vcenter.changes.note_structure()


_CHILD_TYPES = {
    "d": [vim.Folder, vim.Datacenter],
    "v": [vim.Folder, vim.VirtualMachine, vim.VirtualApp],
    "h": [vim.Folder, vim.ComputeResource],
    "s": [vim.Folder, vim.Datastore, vim.StoragePod],
    "n": [vim.Folder, vim.Network, vim.DistributedVirtualSwitch],
}


class Datacenter(Entity):
    """With its four folders."""

    kind = vim.Datacenter
    prefix = "datacenter-"
    shown = {
        "vmFolder": lambda self: self.machines.ref,
        "hostFolder": lambda self: self.hosts.ref,
        "datastoreFolder": lambda self: self.datastores.ref,
        "networkFolder": lambda self: self.networks.ref,
        "datastore": lambda self: [each.ref for each in self.datastores.children],
        "network": lambda self: [each.ref for each in self.networks.children if isinstance(each.ref, vim.Network)],
    }

    def __init__(self, vcenter: Any, name: str, parent: Folder) -> None:
        super().__init__(vcenter, name, parent)
        parent.children.append(self)
        self.machines = Folder(vcenter, "vm", self, "v")
        self.hosts = Folder(vcenter, "host", self, "h")
        self.datastores = Folder(vcenter, "datastore", self, "s")
        self.networks = Folder(vcenter, "network", self, "n")

    def contained(self) -> list[Entity]:
        return [self.machines, self.hosts, self.datastores, self.networks]


class Browser(Simulated):
    """What machines a cluster can have. Control: `versions` of virtual hardware that can be made."""

    kind = vim.EnvironmentBrowser

    def __init__(self, vcenter: Any) -> None:
        super().__init__(vcenter, vcenter.new_id("envbrowser-"))
        self.versions = ["vmx-17", "vmx-18", "vmx-19", "vmx-20", "vmx-21"]
        vcenter.add(self)


class Cluster(Entity):
    """Hosts, and their root pool."""

    kind = vim.ClusterComputeResource
    prefix = "domain-c"
    shown = {
        "host": lambda self: [each.ref for each in self.hosts],
        "resourcePool": lambda self: self.pool.ref,
        "datastore": lambda self: [each.ref for each in self.datacenter.datastores.children],
        "network": lambda self: [each.ref for each in self.datacenter.networks.children],
        "environmentBrowser": lambda self: self.browser.ref,
    }

    def __init__(self, vcenter: Any, name: str, datacenter: Datacenter) -> None:
        super().__init__(vcenter, name, datacenter.hosts)
        self.browser = Browser(vcenter)
        datacenter.hosts.children.append(self)
        self.datacenter = datacenter
        self.hosts: list[Host] = []
        self.pool = Pool(vcenter, "Resources", self, self)

    def contained(self) -> list[Entity]:
        return [*self.hosts, self.pool]


class Pool(Entity):
    """A resource pool."""

    kind = vim.ResourcePool
    prefix = "resgroup-"
    shown = {
        "owner": lambda self: self.cluster.ref,
        "resourcePool": lambda self: [each.ref for each in self.pools],
        "vm": lambda self: [each.ref for each in self.machines],
    }

    def __init__(self, vcenter: Any, name: str, parent: Entity, cluster: Cluster) -> None:
        super().__init__(vcenter, name, parent)
        self.cluster = cluster
        self.pools: list[Pool] = []
        self.machines: list[Machine] = []
        if isinstance(parent, Pool):
            parent.pools.append(self)

    def contained(self) -> list[Entity]:
        return [*self.pools, *self.machines]


class Host(Entity):
    """An ESXi of a cluster."""

    kind = vim.HostSystem
    prefix = "host-"
    shown = {
        "runtime": lambda self: vim.host.RuntimeInfo(
            connectionState="connected",
            powerState="poweredOn",
            inMaintenanceMode=self.in_maintenance,
            bootTime=self.vcenter.clock.now(),
        ),
        "summary": lambda self: self.summary(),
        "vm": lambda self: [each.ref for each in self.machines],
        "datastore": lambda self: [each.ref for each in self.cluster.datacenter.datastores.children],
        "network": lambda self: [each.ref for each in self.cluster.datacenter.networks.children],
    }

    def __init__(self, vcenter: Any, name: str, cluster: Cluster) -> None:
        super().__init__(vcenter, name, cluster)
        self.cluster = cluster
        self.in_maintenance = False
        self.version, self.build = "8.0.2", "22380479"
        self.machines: list[Machine] = []
        cluster.hosts.append(self)

    def summary(self) -> Any:
        product = vim.AboutInfo(
            name="VMware ESXi",
            fullName=f"VMware ESXi {self.version} build-{self.build}",
            vendor="VMware, Inc.",
            version=self.version,
            build=self.build,
            osType="vmnix-x86",
            productLineId="embeddedEsx",
            apiType="HostAgent",
            apiVersion="8.0.2.0",
        )
        name = vim.host.Summary.ConfigSummary(
            name=self.name, port=902, product=product, vmotionEnabled=True, faultToleranceEnabled=False
        )
        return vim.host.Summary(
            host=self.ref,
            config=name,
            runtime=self.value("runtime"),
            overallStatus="green",
            quickStats=vim.host.Summary.QuickStats(),
            rebootRequired=False,
        )


class Datastore(Entity):
    """Space, and a directory with the files that lie in it."""

    kind = vim.Datastore
    prefix = "datastore-"
    shown = {
        "summary": lambda self: self.summary(),
        "info": lambda self: vim.host.VmfsDatastoreInfo(
            name=self.name,
            url=self.url,
            freeSpace=self.free_bytes,
            maxFileSize=64 << 40,
            timestamp=self.vcenter.clock.now(),
            maxVirtualDiskCapacity=62 << 40,
        ),
        "host": lambda self: [
            vim.Datastore.HostMount(
                key=host.ref, mountInfo=vim.host.MountInfo(path=self.url, accessMode="readWrite", accessible=True)
            )
            for host in self.vcenter.each(Host)
        ],
        "vm": lambda self: [each.ref for each in self.vcenter.machines() if self in each.datastores()],
        "capability": lambda self: vim.Datastore.Capability(
            directoryHierarchySupported=True,
            rawDiskMappingsSupported=self.type == "VMFS",
            perFileThinProvisioningSupported=True,
            storageIORMSupported=True,
            nativeSnapshotSupported=False,
            topLevelDirectoryCreateSupported=self.type != "vsan",
            seSparseSupported=True,
        ),
    }

    def __init__(self, vcenter: Any, name: str, datacenter: Datacenter, type_: str, capacity: int) -> None:
        super().__init__(vcenter, name, datacenter.datastores)
        datacenter.datastores.children.append(self)
        self.type = type_
        self.capacity_bytes = capacity
        self.taken_bytes = 0  # by what is not simulated; `free_bytes` is set through it
        self.path: Path = vcenter.directory / "datastores" / self.moid
        self.path.mkdir(parents=True, exist_ok=True)
        self.url = f"ds:///vmfs/volumes/{self.moid}/"

    @property
    def free_bytes(self) -> int:
        used = self.taken_bytes + sum(disk.stored_bytes() for disk in self.vcenter.disks_on(self))
        return max(0, self.capacity_bytes - used)

    @free_bytes.setter
    def free_bytes(self, free: int) -> None:
        """Control: let it fill up, or make room."""
        self.taken_bytes += self.free_bytes - free
        self.touch()

    def summary(self) -> Any:
        return vim.Datastore.Summary(
            datastore=self.ref,
            name=self.name,
            url=self.url,
            capacity=self.capacity_bytes,
            freeSpace=self.free_bytes,
            uncommitted=0,
            accessible=True,
            multipleHostAccess=True,
            type=self.type,
            maintenanceMode="normal",
        )


class Network(Entity):
    """A standard network."""

    kind = vim.Network
    prefix = "network-"
    shown = {
        "summary": lambda self: vim.Network.Summary(network=self.ref, name=self.name, accessible=True, ipPoolName=""),
        "host": lambda self: [host.ref for host in self.vcenter.each(Host)],
        "vm": lambda self: [each.ref for each in self.vcenter.machines() if self in each.networks()],
    }

    def __init__(self, vcenter: Any, name: str, datacenter: Datacenter) -> None:
        super().__init__(vcenter, name, datacenter.networks)
        datacenter.networks.children.append(self)


class Switch(Entity):
    """A distributed switch."""

    kind = vim.dvs.VmwareDistributedVirtualSwitch
    prefix = "dvs-"
    shown = {
        "uuid": lambda self: self.uuid,
        "portgroup": lambda self: [each.ref for each in self.portgroups],
    }

    def __init__(self, vcenter: Any, name: str, datacenter: Datacenter, uuid: str) -> None:
        super().__init__(vcenter, name, datacenter.networks)
        datacenter.networks.children.append(self)
        self.uuid = uuid
        self.portgroups: list[Portgroup] = []


class Portgroup(Network):
    """A distributed portgroup; its key is its id."""

    kind = vim.dvs.DistributedVirtualPortgroup
    prefix = "dvportgroup-"
    shown = {
        "key": lambda self: self.moid,
        "config": lambda self: vim.dvs.DistributedVirtualPortgroup.ConfigInfo(
            key=self.moid,
            name=self.name,
            numPorts=8,
            distributedVirtualSwitch=self.switch.ref,
            type="earlyBinding",
            policy=vim.dvs.DistributedVirtualPortgroup.PortgroupPolicy(
                blockOverrideAllowed=True,
                shapingOverrideAllowed=False,
                vendorConfigOverrideAllowed=False,
                livePortMovingAllowed=False,
                portConfigResetAtDisconnect=True,
            ),
            autoExpand=True,
        ),
    }

    def __init__(self, vcenter: Any, name: str, datacenter: Datacenter, switch: Switch) -> None:
        super().__init__(vcenter, name, datacenter)
        self.switch = switch
        switch.portgroups.append(self)


@serves(vim.Folder, "CreateFolder", "Folder.Create")
def create_folder(call: Call, folder: Folder, name: str) -> Any:
    if any(each.name == name for each in folder.children):
        found = next(each for each in folder.children if each.name == name)
        raise vim.fault.DuplicateName(name=name, object=found.ref)
    made = Folder(call.vcenter, name, None, folder.letter)
    folder.put(made)
    return made.ref


@serves(vim.EnvironmentBrowser, "QueryConfigOptionDescriptor", "System.View")
def query_versions(call: Call, browser: Browser) -> list[Any]:
    return [
        vim.vm.ConfigOptionDescriptor(
            key=each, description=f"ESXi compatible, {each}", createSupported=True, runSupported=True
        )
        for each in browser.versions
    ]
