"""A virtual machine: its configuration as vCenter tells it, its disks, its snapshots."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.clone import clone
from tests.sim.vcenter.disks import Disk, Layer
from tests.sim.vcenter.hardware import (
    basic_devices,
    disk_device,
    flat_backing,
    network_backing,
    nic_device,
)
from tests.sim.vcenter.inventory import Datastore, Entity, Folder, Host, Pool

_NAMESPACE = uuid.UUID("6a5c1e0e-5f0b-4a51-8ac7-70a6ab9be6cc")


@dataclass
class Blueprint:
    """What a machine is made of when somebody adds one from Python or the command line."""

    name: str
    disks: list[int]  # sizes in bytes
    datastore: Datastore
    networks: list[Any]
    guest_id: str = "debian12_64Guest"
    firmware: str = "bios"
    cpus: int = 2
    memory_mb: int = 4096
    powered_on: bool = True
    change_tracking: bool = False
    template: bool = False
    thin: bool = True
    annotation: str = ""
    extra_config: dict[str, str] = field(default_factory=dict)
    identity: str = ""  # what uuids and MACs are derived from; the id of the machine where empty


class Machine(Entity):
    """`config` and `disks` are made when somebody first looks, so ten thousand of them cost little."""

    kind = vim.VirtualMachine
    prefix = "vm-"
    shown = {
        "config": lambda self: self.config,
        "runtime": lambda self: self.runtime(),
        "guest": lambda self: self.guest(),
        "summary": lambda self: self.summary(),
        "resourcePool": lambda self: self.pool.ref if self.pool is not None else None,
        "datastore": lambda self: [each.ref for each in self.datastores()],
        "network": lambda self: [each.ref for each in self.networks()],
        "snapshot": lambda self: self.snapshot_info(),
        "rootSnapshot": lambda self: [each.ref for each in self.roots],
        "layoutEx": lambda self: self.layout(),
        "storage": lambda self: self.storage(),
        "capability": lambda self: vim.vm.Capability(
            snapshotOperationsSupported=True,
            multipleSnapshotsSupported=True,
            snapshotConfigSupported=True,
            changeTrackingSupported=True,
            quiescedSnapshotsSupported=True,
            diskSharesSupported=True,
            bootOptionsSupported=True,
            poweredOffSnapshotsSupported=True,
            memorySnapshotsSupported=True,
            revertToSnapshotSupported=True,
        ),
        "guestHeartbeatStatus": lambda self: "green" if self.power == "poweredOn" else "gray",
    }

    def __init__(self, vcenter: Any, blueprint: Blueprint, folder: Folder, host: Host, pool: Pool | None) -> None:
        super().__init__(vcenter, blueprint.name, folder)
        folder.children.append(self)
        self._blueprint = blueprint
        self._config: Any = None
        self._disks: dict[int, Disk] = {}
        self.host = host
        self.pool = pool
        host.machines.append(self)
        if pool is not None:
            pool.machines.append(self)
        self.power = "poweredOn" if blueprint.powered_on and not blueprint.template else "poweredOff"
        self.roots: list[Any] = []  # snapshots without a parent
        self.current: Any = None
        self.next_snapshot = 1
        self.consolidation_needed = False
        self.tools_running = self.power == "poweredOn"
        self.question: Any = None
        self.new_keys: dict[int, int] = {}  # of devices that one specification adds: their keys there and here

    # What it is

    @property
    def config(self) -> Any:
        if self._config is None:
            self._build()
        return self._config

    @config.setter
    def config(self, config: Any) -> None:
        self._config = config

    @property
    def disks(self) -> dict[int, Disk]:
        if self._config is None:
            self._build()
        return self._disks

    @disks.setter
    def disks(self, disks: dict[int, Disk]) -> None:
        self._disks = disks

    def home_is(self, directory: str) -> bool:
        """Whether it lies there: `[datastore] directory`."""
        if self._config is None:
            return directory == f"[{self._blueprint.datastore.name}] {self._blueprint.name}"
        return bool(self._config.files.vmPathName.rpartition("/")[0] == directory)

    @property
    def is_untouched(self) -> bool:
        """Nobody looked at it yet, so nothing of it is stored."""
        return self._config is None

    @property
    def is_template(self) -> bool:
        return bool(self._blueprint.template if self._config is None else self._config.template)

    def uuid_of(self, what: str) -> str:
        """The same for the same machine in every run."""
        seed = self._blueprint.identity or f"{self.vcenter.instance_uuid}/{self.moid}"
        return str(uuid.uuid5(_NAMESPACE, f"{seed}/{what}"))

    def _build(self) -> None:
        plan = self._blueprint
        home = f"[{plan.datastore.name}] {self.name}/"
        config = self._config = new_config(self.vcenter, self.name, home, plan.guest_id)
        config.uuid, config.instanceUuid = self.uuid_of("bios"), self.uuid_of("instance")
        config.template, config.firmware = plan.template, plan.firmware
        config.changeTrackingEnabled = plan.change_tracking
        config.annotation = plan.annotation
        config.hardware.numCPU, config.hardware.memoryMB = plan.cpus, plan.memory_mb
        config.extraConfig = [
            vim.option.OptionValue(key="nvram", value=f"{self.name}.nvram"),
            vim.option.OptionValue(key="svga.present", value="TRUE"),
            *(vim.option.OptionValue(key=key, value=value) for key, value in plan.extra_config.items()),
        ]
        devices = basic_devices(disks=len(plan.disks))
        for number, size in enumerate(plan.disks):
            key, unit = 2000 + number, number % 15
            suffix = f"_{number}" if number else ""
            layer = Layer(plan.datastore, f"{self.name}/{self.name}{suffix}.vmdk", is_base=True)
            disk = self._disks[key] = self.new_disk(key, self.uuid_of(f"disk {number}"), size, layer)
            if plan.change_tracking:
                disk.tracking.activate()
            backing = flat_backing(layer.file_name, disk.uuid, thin=plan.thin)
            backing.datastore = plan.datastore.ref
            devices.append(disk_device(key, 1000 + number // 15, unit + (unit > 6), backing, size))
        for number, network in enumerate(plan.networks):
            mac = "00:50:56:" + uuid.UUID(self.uuid_of(f"mac {number}")).bytes[:3].hex(":")
            devices.append(nic_device(4000 + number, mac, network_backing(network), network.name))
        config.hardware.device = devices
        self.refresh_disks()

    def new_disk(self, key: int, disk_uuid: str, size: int, layer: Layer) -> Disk:
        return Disk(key, disk_uuid, size, layer, f"{self.vcenter.instance_uuid}/{self.moid}/{disk_uuid}")

    def device(self, key: int) -> Any:
        return next((each for each in self.config.hardware.device if each.key == key), None)

    def refresh_disks(self) -> None:
        """Backings say again where the bytes are, and which change id holds."""
        for key, disk in self._disks.items():
            backing = self.device(key).backing
            describe_backing(backing, disk, disk.layers, disk.tracking.live_change_id)

    def rename(self, name: str) -> None:
        self.config.name = name
        super().rename(name)

    def move_to(self, host: Host) -> None:
        """vMotion."""
        self.host.machines.remove(self)
        self.host.touch()
        self.host = host
        host.machines.append(self)
        host.touch()
        self.vcenter.changes.note_structure()
        self.touch()

    def assign(self, pool: Pool) -> None:
        """To another resource pool."""
        if self.pool is not None:
            self.pool.machines.remove(self)
            self.pool.touch()
        self.pool = pool
        pool.machines.append(self)
        pool.touch()
        self.vcenter.changes.note_structure()
        self.touch()

    # What is told of it

    def datastores(self) -> list[Datastore]:
        if self._config is None:
            return [self._blueprint.datastore]
        home = self.vcenter.datastore_of(self._config.files.vmPathName)
        found = [home, *(layer.datastore for disk in self._disks.values() for layer in disk.layers)]
        return list(dict.fromkeys(found))

    def networks(self) -> list[Any]:
        found = [self.vcenter.network_of(each) for each in self.config.hardware.device if hasattr(each, "macAddress")]
        return [each for each in dict.fromkeys(found) if each is not None]

    def runtime(self) -> Any:
        return vim.vm.RuntimeInfo(
            host=self.host.ref,
            connectionState="connected",
            powerState=self.power,
            faultToleranceState="notConfigured",
            toolsInstallerMounted=False,
            bootTime=None,
            onlineStandby=False,
            consolidationNeeded=self.consolidation_needed,
            recordReplayState="inactive",
            numMksConnections=0,
            suspendInterval=0,
            snapshotInBackground=False,
            question=self.question,
        )

    def guest(self) -> Any:
        running = self.power == "poweredOn" and self.tools_running
        return vim.vm.GuestInfo(
            toolsStatus="toolsOk" if running else "toolsNotRunning",
            toolsVersionStatus2="guestToolsUnmanaged",
            toolsRunningStatus="guestToolsRunning" if running else "guestToolsNotRunning",
            guestState="running" if running else "notRunning",
            guestId=self.config.guestId,
            guestFullName=self.config.guestFullName,
            guestFamily="windowsGuest" if self.config.guestId.startswith("win") else "linuxGuest",
            hostName=self.name if running else None,
            ipAddress="192.0.2.10" if running else None,
            guestOperationsReady=running,
            interactiveGuestOperationsReady=False,
            guestStateChangeSupported=running,
        )

    def summary(self) -> Any:
        config = self.config
        capacity = sum(disk.size for disk in self.disks.values())
        return vim.vm.Summary(
            vm=self.ref,
            runtime=self.runtime(),
            overallStatus="green",
            config=vim.vm.Summary.ConfigSummary(
                name=escaped_name(self),
                template=config.template,
                vmPathName=config.files.vmPathName,
                memorySizeMB=config.hardware.memoryMB,
                numCpu=config.hardware.numCPU,
                numEthernetCards=sum(hasattr(each, "macAddress") for each in config.hardware.device),
                numVirtualDisks=len(self.disks),
                uuid=config.uuid,
                instanceUuid=config.instanceUuid,
                guestId=config.guestId,
                guestFullName=config.guestFullName,
                annotation=config.annotation,
            ),
            storage=vim.vm.Summary.StorageSummary(
                committed=sum(disk.stored_bytes() for disk in self.disks.values()),
                uncommitted=capacity,
                unshared=capacity,
                timestamp=self.vcenter.clock.now(),
            ),
            quickStats=vim.vm.Summary.QuickStats(guestHeartbeatStatus="green"),
            customValue=self.custom_values(),
        )

    def snapshot_info(self) -> Any:
        if not self.roots:
            return None
        return vim.vm.SnapshotInfo(
            currentSnapshot=self.current.ref if self.current is not None else None,
            rootSnapshotList=[each.tree() for each in self.roots],
        )

    def files(self) -> list[tuple[str, str, int]]:
        """Names, kinds and sizes of what it consists of."""
        files = self.config.files
        home = files.vmPathName.removesuffix(".vmx")
        found = [
            (files.vmPathName, "config", 3000),
            (f"{home}.nvram", "nvram", 74232),
            (f"{home}.vmsd", "snapshotList", 0),
        ]
        for disk in self.disks.values():
            for layer in disk.layers:
                stem = layer.file_name.removesuffix(".vmdk")
                found.append((layer.file_name, "diskDescriptor", 600))
                found.append(
                    (f"{stem}-{'flat' if layer.is_base else 'sesparse'}.vmdk", "diskExtent", layer.stored_bytes())
                )
                if disk.tracking.is_active:
                    found.append((f"{stem}-ctk.vmdk", "digestDescriptor", 65536))
        return found

    def layout(self) -> Any:
        """layoutEx."""
        found = self.files()
        key_by_name = {name: key for key, (name, _, _) in enumerate(found)}
        disks = []
        for disk in self.disks.values():
            chain = [
                vim.vm.FileLayoutEx.DiskUnit(
                    fileKey=[
                        key_by_name[layer.file_name],
                        key_by_name[_extent_name(layer)],
                    ]
                )
                for layer in disk.layers
            ]
            disks.append(vim.vm.FileLayoutEx.DiskLayout(key=disk.key, chain=chain))
        return vim.vm.FileLayoutEx(
            file=[
                vim.vm.FileLayoutEx.FileInfo(key=key, name=name, type=kind, size=size, uniqueSize=size, accessible=True)
                for key, (name, kind, size) in enumerate(found)
            ],
            disk=disks,
            timestamp=self.vcenter.clock.now(),
        )

    def storage(self) -> Any:
        return vim.vm.StorageInfo(
            perDatastoreUsage=[
                vim.vm.StorageInfo.UsageOnDatastore(
                    datastore=each.ref,
                    committed=sum(disk.stored_bytes() for disk in self.disks.values()),
                    uncommitted=0,
                    unshared=0,
                )
                for each in self.datastores()
            ],
            timestamp=self.vcenter.clock.now(),
        )


def _extent_name(layer: Layer) -> str:
    return f"{layer.file_name.removesuffix('.vmdk')}-{'flat' if layer.is_base else 'sesparse'}.vmdk"


def escaped_name(machine: Machine) -> str:
    return str(machine.value("name"))


def describe_backing(backing: Any, disk: Disk, layers: list[Layer], change_id: str | None) -> None:
    """Write into a disk's backing where its bytes are: the uppermost of the layers, and those below as its parents."""
    backing.fileName = layers[-1].file_name
    backing.datastore = layers[-1].datastore.ref
    if hasattr(backing, "changeId"):
        backing.changeId = change_id
    if hasattr(backing, "parent"):
        backing.parent = None
        here = backing
        for layer in reversed(layers[:-1]):
            parent = flat_backing(layer.file_name, disk.uuid, thin=True, mode=backing.diskMode)
            parent.datastore = layer.datastore.ref
            here.parent = parent
            here = parent


def new_config(vcenter: Any, name: str, home: str, guest_id: str) -> Any:
    """The configuration of a machine without disks and networks. `home` is its directory: `[datastore] name/`."""
    config = clone(_prototype(guest_id))
    config.name = name
    config.modified = config.createDate = now = vcenter.clock.now()
    config.changeVersion = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    files = config.files
    files.vmPathName = f"{home}{name}.vmx"
    files.snapshotDirectory = files.suspendDirectory = files.logDirectory = home
    return config


@cache
def _prototype(guest_id: str) -> Any:
    """What is alike in all new machines; only copies of it are given away."""
    normal = vim.SharesInfo(shares=2000, level="normal")
    return vim.vm.ConfigInfo(
        guestFullName=_GUESTS.get(guest_id, "Other Linux (64-bit)"),
        version="vmx-20",
        uuid="",
        instanceUuid="",
        template=False,
        guestId=guest_id,
        alternateGuestName="",
        annotation="",
        files=vim.vm.FileInfo(),
        tools=vim.vm.ToolsConfigInfo(
            toolsVersion=12352, afterPowerOn=True, afterResume=True, beforeGuestStandby=True, beforeGuestShutdown=True
        ),
        flags=vim.vm.FlagInfo(
            disableAcceleration=False,
            enableLogging=True,
            useToe=False,
            runWithDebugInfo=False,
            monitorType="release",
            htSharing="any",
            snapshotDisabled=False,
            snapshotLocked=False,
            diskUuidEnabled=False,
            snapshotPowerOffBehavior="powerOff",
            vbsEnabled=False,
        ),
        defaultPowerOps=vim.vm.DefaultPowerOpInfo(
            powerOffType="soft", suspendType="hard", resetType="soft", standbyAction="checkpoint"
        ),
        rebootPowerOff=False,
        hardware=vim.vm.VirtualHardware(
            numCPU=1, numCoresPerSocket=1, memoryMB=1024, virtualICH7MPresent=False, virtualSMCPresent=False, device=[]
        ),
        cpuAllocation=vim.ResourceAllocationInfo(reservation=0, expandableReservation=False, limit=-1, shares=normal),
        memoryAllocation=vim.ResourceAllocationInfo(
            reservation=0, expandableReservation=False, limit=-1, shares=vim.SharesInfo(shares=40960, level="normal")
        ),
        latencySensitivity=vim.LatencySensitivity(level="normal"),
        memoryHotAddEnabled=False,
        cpuHotAddEnabled=False,
        cpuHotRemoveEnabled=False,
        extraConfig=[],
        swapPlacement="inherit",
        bootOptions=vim.vm.BootOptions(
            bootDelay=0, enterBIOSSetup=False, efiSecureBootEnabled=False, bootRetryEnabled=False, bootRetryDelay=10000
        ),
        vAssertsEnabled=False,
        changeTrackingEnabled=False,
        firmware="bios",
        maxMksConnections=40,
        guestAutoLockEnabled=True,
        memoryReservationLockedToMax=False,
        nestedHVEnabled=False,
        vPMCEnabled=False,
        messageBusTunnelEnabled=False,
        migrateEncryption="opportunistic",
        ftEncryptionMode="ftEncryptionOpportunistic",
    )


_GUESTS = {
    "debian12_64Guest": "Debian GNU/Linux 12 (64-bit)",
    "windows2019srv_64Guest": "Microsoft Windows Server 2019 (64-bit)",
    "ubuntu64Guest": "Ubuntu Linux (64-bit)",
}
