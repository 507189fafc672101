"""A machine's saved config as what makes it again: an allow-list of settings, and of devices (`devices`).

It runs when a backup is made too, for nobody but the person who reads its warnings: what would not come back is known
then, not on the day of the restore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vsa.hypervisors.vcenter.devices import Placing, make_devices

MARK = "ingot.restoring"  # in a machine's extraConfig while it is half-made; its value names the job

_COPIED = (
    "guestId",
    "alternateGuestName",
    "annotation",
    "version",
    "firmware",
    "cpuAllocation",
    "memoryAllocation",
    "latencySensitivity",
    "memoryHotAddEnabled",
    "cpuHotAddEnabled",
    "cpuHotRemoveEnabled",
    "memoryReservationLockedToMax",
    "nestedHVEnabled",
    "vPMCEnabled",
    "swapPlacement",
    "rebootPowerOff",
    "maxMksConnections",
    "guestAutoLockEnabled",
)
_FLAGS = (
    "diskUuidEnabled",
    "enableLogging",
    "virtualMmuUsage",
    "virtualExecUsage",
    "vvtdEnabled",
    "vbsEnabled",
    "cbrcCacheEnabled",
)
_BOOT = (
    "bootDelay",
    "enterBIOSSetup",
    "efiSecureBootEnabled",
    "bootRetryEnabled",
    "bootRetryDelay",
    "networkBootProtocol",
)
_TOOLS = (
    "afterPowerOn",
    "afterResume",
    "beforeGuestStandby",
    "beforeGuestShutdown",
    "beforeGuestReboot",
    "toolsUpgradePolicy",
    "syncTimeWithHost",
    "syncTimeWithHostAllowed",
)
_VIDEO = (
    "videoRamSizeInKB",
    "numDisplays",
    "useAutoDetect",
    "enable3DSupport",
    "use3dRenderer",
    "graphicsMemorySizeInKB",
)
# Of extraConfig, which is free-form: what vSphere keeps there for the machine that was.
_NOT_OURS = (
    "nvram",
    "migrate.",
    "sched.swap.derivedname",
    "vmware.tools.",
    "vmxstats.",
    "viv.moid",
    "toolsinstallmanager.",
    "monitor.phys_bits_used",
    "numa.autosize.",
    "softpoweroff",
    "cleanshutdown",
    "uuid.",
    "vc.uuid",
    "ingot.",
)


@dataclass(frozen=True)
class Specification:
    """`first` makes the machine. `lost` says, a line each, what does not come back as it was."""

    first: Any
    lost: list[str]


def specify(config: Any, name: str, placing: Placing, *, keep_identity: bool = False, mark: str = "") -> Specification:
    """For a new machine. `mark` is set in it until `late` takes it away."""
    spec = vim.vm.ConfigSpec(name=name)
    for member in _COPIED:
        value = getattr(config, member, None)
        if value not in (None, ""):
            setattr(spec, member, value)
    spec.flags = _some(config.flags, _FLAGS)
    spec.bootOptions = _some(config.bootOptions, _BOOT)
    spec.tools = _some(config.tools, _TOOLS)
    spec.powerOpInfo = config.defaultPowerOps
    spec.numCPUs = config.hardware.numCPU
    if not getattr(config.hardware, "autoCoresPerSocket", None):
        spec.numCoresPerSocket = config.hardware.numCoresPerSocket
    spec.memoryMB = config.hardware.memoryMB
    spec.vAppConfig = _v_app(config.vAppConfig)
    spec.extraConfig = [option for option in config.extraConfig or [] if _is_ours(option.key)]
    if mark:
        spec.extraConfig.append(vim.option.OptionValue(key=MARK, value=mark))
    if keep_identity:
        spec.uuid, spec.instanceUuid = config.uuid, config.instanceUuid
    devices = make_devices(config.hardware.device or [], placing)
    spec.deviceChange = devices.changes
    return Specification(spec, [*devices.lost, *_lost_settings(config)])


def would_not_come_back(config: Any, protected: frozenset[str]) -> list[str]:
    """The pre-flight: what a restore to the same place would not bring back; `protected` are the keys of its disks."""
    placing = Placing(lambda name: name, lambda _: vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(), protected)
    return specify(config, config.name or "", placing).lost


def late(config: Any, made: Any) -> Any:
    """What is set when the machine (its config `made`) has its own keys; the mark goes with it."""
    spec = vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key=MARK, value="")])
    order = getattr(config.bootOptions, "bootOrder", None)
    if order:
        own = same_devices(config.hardware.device, made.hardware.device)
        for entry in order:
            if getattr(entry, "deviceKey", None) is not None:
                entry.deviceKey = own.get(entry.deviceKey)
        kept = [entry for entry in order if getattr(entry, "deviceKey", 0) is not None]
        spec.bootOptions = vim.vm.BootOptions(bootOrder=kept)
    videos = [
        next((each for each in devices if isinstance(each, vim.vm.device.VirtualVideoCard)), None)
        for devices in (config.hardware.device, made.hardware.device)
    ]
    if videos[0] is not None and videos[1] is not None:
        card = vim.vm.device.VirtualVideoCard(key=videos[1].key, controllerKey=videos[1].controllerKey)
        for member in _VIDEO:
            setattr(card, member, getattr(videos[0], member))
        spec.deviceChange = [vim.vm.device.VirtualDeviceSpec(operation="edit", device=card)]
    return spec


def same_devices(saved: Any, made: Any) -> dict[int, int]:
    """Keys of saved devices -> keys of the same ones of another machine: by bus and unit; cards by their order."""
    theirs = {place: device.key for place, device in places(made).items()}
    return {device.key: theirs[place] for place, device in places(saved).items() if place in theirs}


def places(devices: Any) -> dict[tuple[Any, ...], Any]:
    """Devices by where they are in a machine, which says the same in every machine."""
    by_key = {device.key: device for device in devices}
    found: dict[tuple[Any, ...], Any] = {}
    cards = 0
    for device in devices:
        controller = by_key.get(device.controllerKey)
        if isinstance(device, vim.vm.device.VirtualController):
            found[_family(device), device.busNumber] = device
        elif isinstance(device, vim.vm.device.VirtualEthernetCard):
            found["card", cards] = device
            cards += 1
        elif controller is not None:
            found[_family(controller), controller.busNumber, device.unitNumber] = device
    return found


def _family(controller: Any) -> str:
    for family in (
        vim.vm.device.VirtualSCSIController,
        vim.vm.device.VirtualSATAController,
        vim.vm.device.VirtualIDEController,
        vim.vm.device.VirtualNVMEController,
    ):
        if isinstance(controller, family):
            return str(family.__name__)
    return type(controller).__name__


def _some(source: Any, names: tuple[str, ...]) -> Any:
    """Some members of a data object, in a new one."""
    if source is None:
        return None
    copy = type(source)()
    for name in names:
        value = getattr(source, name, None)
        if value is not None:
            setattr(copy, name, value)
    return copy


def _is_ours(key: str) -> bool:
    low = key.lower()
    return not low.startswith(_NOT_OURS) and not low.endswith(("ctkenabled", ".pcislotnumber", ".redo", "deviceid"))


def _v_app(info: Any) -> Any:
    if info is None:
        return None
    spec = vim.vApp.VmConfigSpec(
        product=[vim.vApp.ProductSpec(operation="add", info=each) for each in info.product or []],
        property=[vim.vApp.PropertySpec(operation="add", info=each) for each in info.property or []],
        ipAssignment=info.ipAssignment,
        eula=info.eula,
        ovfEnvironmentTransport=info.ovfEnvironmentTransport,
        installBootRequired=info.installBootRequired,
        installBootStopDelay=info.installBootStopDelay,
    )
    spec.ovfSection = [vim.vApp.OvfSectionSpec(operation="add", info=each) for each in info.ovfSection or []]
    return spec


def _lost_settings(config: Any) -> list[str]:
    lost = []
    if config.keyId is not None:
        lost.append("it comes back unencrypted: its disks are encrypted by vSphere")
    if config.ftInfo is not None:
        lost.append("fault tolerance does not come back")
    if config.template:
        lost.append("it comes back as a machine: it is a template")
    if config.managedBy is not None:
        lost.append(f"it comes back without {config.managedBy.extensionKey}, by which it is managed")
    if config.npivWorldWideNameType is not None:
        lost.append("its world wide names (NPIV) do not come back")
    if config.cpuAffinity is not None and config.cpuAffinity.affinitySet:
        lost.append("its bond to certain cores does not come back")
    return lost
