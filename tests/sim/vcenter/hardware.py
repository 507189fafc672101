"""The devices of a usual machine, as a vCenter describes them."""

from __future__ import annotations

from functools import cache
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.clone import clone

Dev = vim.vm.device


def _described(device: Any, label: str, summary: str) -> Any:
    device.deviceInfo = vim.Description(label=label, summary=summary)
    return device


def basic_devices(*, disks: int) -> list[Any]:
    """Controllers and what every machine has; a SCSI controller for every 15 disks."""
    return [clone(each) for each in _basic_devices(max(1, -(-disks // 15)))]


@cache
def _basic_devices(controllers: int) -> list[Any]:
    scsi = [
        _described(
            Dev.ParaVirtualSCSIController(
                key=1000 + bus,
                controllerKey=100,
                unitNumber=3 + bus,
                busNumber=bus,
                hotAddRemove=True,
                sharedBus="noSharing",
                scsiCtlrUnitNumber=7,
                device=[],
            ),
            f"SCSI controller {bus}",
            "VMware paravirtual SCSI",
        )
        for bus in range(controllers)
    ]
    return [
        _described(Dev.VirtualIDEController(key=200, busNumber=0), "IDE 0", "IDE 0"),
        _described(Dev.VirtualIDEController(key=201, busNumber=1), "IDE 1", "IDE 1"),
        _described(Dev.VirtualPS2Controller(key=300, busNumber=0, device=[600, 700]), "PS2 controller 0", "PS2"),
        _described(Dev.VirtualPCIController(key=100, busNumber=0, device=[500, 12000]), "PCI controller 0", "PCI"),
        _described(Dev.VirtualSIOController(key=400, busNumber=0), "SIO controller 0", "SIO controller 0"),
        _described(Dev.VirtualKeyboard(key=600, controllerKey=300, unitNumber=0), "Keyboard", "Keyboard"),
        _described(
            Dev.VirtualPointingDevice(
                key=700,
                controllerKey=300,
                unitNumber=1,
                backing=Dev.VirtualPointingDevice.DeviceBackingInfo(
                    deviceName="", useAutoDetect=False, hostPointingDevice="autodetect"
                ),
            ),
            "Pointing device",
            "Pointing device; Device",
        ),
        _described(
            Dev.VirtualVideoCard(
                key=500, controllerKey=100, unitNumber=0, videoRamSizeInKB=4096, numDisplays=1, useAutoDetect=False
            ),
            "Video card ",
            "Video card",
        ),
        _described(
            Dev.VirtualVMCIDevice(key=12000, controllerKey=100, unitNumber=17, allowUnrestrictedCommunication=False),
            "VMCI device",
            "Device on the virtual machine PCI bus that provides support for the VMCI",
        ),
        *scsi,
        _described(
            Dev.VirtualAHCIController(key=15000, controllerKey=100, unitNumber=24, busNumber=0),
            "SATA controller 0",
            "AHCI",
        ),
        _described(
            Dev.VirtualCdrom(
                key=16000,
                controllerKey=15000,
                unitNumber=0,
                backing=Dev.VirtualCdrom.RemotePassthroughBackingInfo(
                    deviceName="", exclusive=False, useAutoDetect=False
                ),
                connectable=_connectable(connected=False, at_start=False),
            ),
            "CD/DVD drive 1",
            "Remote device",
        ),
    ]


def disk_device(key: int, controller: int, unit: int, backing: Any, size: int) -> Any:
    """A disk."""
    device = clone(_prototype_disk())
    device.key, device.controllerKey, device.unitNumber, device.backing = key, controller, unit, backing
    device.capacityInBytes, device.capacityInKB = size, size // 1024
    return _described(device, f"Hard disk {key - 1999}", f"{size // 1024:,} KB")


@cache
def _prototype_disk() -> Any:
    return Dev.VirtualDisk(
        key=0,
        capacityInKB=0,
        shares=vim.SharesInfo(shares=1000, level="normal"),
        storageIOAllocation=vim.StorageResourceManager.IOAllocationInfo(
            limit=-1, shares=vim.SharesInfo(shares=1000, level="normal"), reservation=0
        ),
        nativeUnmanagedLinkedClone=False,
    )


def nic_device(key: int, mac: str, backing: Any, summary: str) -> Any:
    """A network card."""
    device = clone(_prototype_nic())
    device.key, device.unitNumber, device.macAddress, device.backing = key, key - 4000 + 7, mac, backing
    return _described(device, f"Network adapter {key - 3999}", summary)


@cache
def _prototype_nic() -> Any:
    return Dev.VirtualVmxnet3(
        key=0,
        controllerKey=100,
        addressType="assigned",
        wakeOnLanEnabled=True,
        connectable=_connectable(connected=True, at_start=True),
        resourceAllocation=Dev.VirtualEthernetCard.ResourceAllocation(
            reservation=0, limit=-1, share=vim.SharesInfo(shares=50, level="normal")
        ),
        uptCompatibilityEnabled=True,
    )


def _connectable(*, connected: bool, at_start: bool) -> Any:
    return Dev.VirtualDevice.ConnectInfo(
        connected=connected, startConnected=at_start, allowGuestControl=True, status="ok"
    )


def network_backing(network: Any) -> Any:
    """The backing of a card in a network or a distributed portgroup."""
    if hasattr(network, "switch"):
        port = vim.dvs.PortConnection(switchUuid=network.switch.uuid, portgroupKey=network.moid, portKey="8")
        return Dev.VirtualEthernetCard.DistributedVirtualPortBackingInfo(port=port)
    return Dev.VirtualEthernetCard.NetworkBackingInfo(deviceName=network.name, network=network.ref, useAutoDetect=False)


def flat_backing(
    file_name: str, uuid: str, *, thin: bool, mode: str = "persistent", sharing: str = "sharingNone"
) -> Any:
    """The backing of a disk in a file."""
    return Dev.VirtualDisk.FlatVer2BackingInfo(
        fileName=file_name,
        diskMode=mode,
        split=False,
        writeThrough=False,
        thinProvisioned=thin,
        eagerlyScrub=False if not thin else None,
        uuid=uuid,
        contentId=uuid.replace("-", ""),
        digestEnabled=False,
        sharing=sharing,
    )
