"""A virtual machine: its configuration as vCenter tells it, its disks, its snapshots."""

from __future__ import annotations

import uuid
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.blueprint import LIKE_PATHS, Blueprint, configuration_of, disk_name
from tests.sim.vcenter.configuration import config_summary, guest_name
from tests.sim.vcenter.disks import Disk, Layer
from tests.sim.vcenter.hardware import flat_backing
from tests.sim.vcenter.inventory import Datastore, Entity, Folder, Host, Pool, escaped

_NAMESPACE = uuid.UUID("6a5c1e0e-5f0b-4a51-8ac7-70a6ab9be6cc")


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
        self._config = configuration_of(self.vcenter, plan, self.name, self)
        for number, size in enumerate(plan.disks):
            layer = Layer(plan.datastore, disk_name(self.name, number), is_base=True)
            key = 2000 + number
            disk = self._disks[key] = self.new_disk(key, self.uuid_of(f"disk {number}"), size, layer)
            if plan.change_tracking:
                disk.tracking.activate()
        self.refresh_disks()

    def mac_of(self, number: int) -> str:
        return "00:50:56:" + uuid.UUID(self.uuid_of(f"mac {number}")).bytes[:3].hex(":")

    def content_of(self, number: int) -> str:
        return self.uuid_of(f"content {number}").replace("-", "")

    def likeness(self, path: str) -> tuple[bool, str | None]:
        """A property's text from what machines of a blueprint have alike, while nobody changed anything of this one."""
        changed = self._config is not None or self._blueprint.change_tracking or escaped(self.name) != self.name
        if changed or not path.startswith(LIKE_PATHS):
            return False, None
        return self.vcenter.likenesses.text(self._blueprint, path, self.name, self)

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
        if self._config is None:
            return list(dict.fromkeys(self._blueprint.networks))
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
        guest_id = self._blueprint.guest_id if self._config is None else self._config.guestId
        return vim.vm.GuestInfo(
            toolsStatus="toolsOk" if running else "toolsNotRunning",
            toolsVersionStatus2="guestToolsUnmanaged",
            toolsRunningStatus="guestToolsRunning" if running else "guestToolsNotRunning",
            guestState="running" if running else "notRunning",
            guestId=guest_id,
            guestFullName=guest_name(guest_id),
            guestFamily="windowsGuest" if guest_id.startswith("win") else "linuxGuest",
            hostName=self.name if running else None,
            ipAddress="192.0.2.10" if running else None,
            guestOperationsReady=running,
            interactiveGuestOperationsReady=False,
            guestStateChangeSupported=running,
        )

    def summary(self) -> Any:
        capacity = sum(disk.size for disk in self.disks.values())
        return vim.vm.Summary(
            vm=self.ref,
            runtime=self.runtime(),
            overallStatus="green",
            config=config_summary(self.config, escaped(self.name)),
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
