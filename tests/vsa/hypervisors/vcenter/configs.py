"""Configs of machines as a vCenter would tell them, made by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pyVmomi import vim

device = vim.vm.device
Flat = device.VirtualDisk.FlatVer2BackingInfo


def disk(number: int, **backing: Any) -> Any:
    """On the first SCSI controller; its key is `uuid-<number>`."""
    made = {"uuid": f"UUID-{number}", "diskMode": "persistent", "thinProvisioned": True, **backing}
    return device.VirtualDisk(
        key=2000 + number,
        controllerKey=1000,
        unitNumber=number,
        capacityInKB=1024 * (number + 1),
        capacityInBytes=(number + 1) << 20,
        deviceInfo=vim.Description(label=f"Hard disk {number + 1}", summary=""),
        backing=Flat(fileName=f"[fast] web1/web1_{number}.vmdk", datastore=vim.Datastore("datastore-1"), **made),
    )


def card(number: int, backing: Any = None) -> Any:
    """A vmxnet3 with MAC 00:50:56:aa:bb:0<number>."""
    return device.VirtualVmxnet3(
        key=4000 + number,
        controllerKey=100,
        unitNumber=7 + number,
        deviceInfo=vim.Description(label=f"Network adapter {number + 1}", summary="VM Network"),
        backing=backing or device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network"),
        addressType="assigned",
        macAddress=f"00:50:56:aa:bb:0{number}",
        slotInfo=device.VirtualDevice.PciBusSlotInfo(pciSlotNumber=192 + 32 * number),
        connectable=device.VirtualDevice.ConnectInfo(startConnected=True, allowGuestControl=True, connected=True),
    )


def config(*more: Any, disks: int = 2, cards: int = 1, **members: Any) -> Any:
    """An EFI machine with the devices that vSphere puts into each, and `more`."""
    devices = [
        device.VirtualIDEController(key=200, busNumber=0),
        device.VirtualIDEController(key=201, busNumber=1),
        device.VirtualPS2Controller(key=300, busNumber=0),
        device.VirtualPCIController(key=100, busNumber=0),
        device.VirtualSIOController(key=400, busNumber=0),
        device.VirtualKeyboard(key=600, controllerKey=300, unitNumber=0),
        device.VirtualPointingDevice(key=700, controllerKey=300, unitNumber=1),
        device.VirtualVideoCard(key=500, controllerKey=100, unitNumber=0, videoRamSizeInKB=16384, numDisplays=2),
        device.VirtualVMCIDevice(key=12000, controllerKey=100),
        device.ParaVirtualSCSIController(key=1000, controllerKey=100, busNumber=0, sharedBus="noSharing"),
        *[disk(number) for number in range(disks)],
        *[card(number) for number in range(cards)],
        *more,
    ]
    return vim.vm.ConfigInfo(
        **{
            "name": "web1",
            "version": "vmx-19",
            "guestId": "debian11_64Guest",
            "guestFullName": "Debian GNU/Linux 11 (64-bit)",
            "uuid": "42391F2C-0000-0000-0000-000000000001",
            "instanceUuid": "50391F2C-0000-0000-0000-000000000001",
            "modified": datetime(2026, 11, 24, 10, 0, tzinfo=UTC),
            "firmware": "efi",
            "annotation": "the shop",
            "flags": vim.vm.FlagInfo(diskUuidEnabled=True, monitorType="release"),
            "bootOptions": vim.vm.BootOptions(
                efiSecureBootEnabled=True,
                bootOrder=[
                    vim.vm.BootOptions.BootableDiskDevice(deviceKey=2000),
                    vim.vm.BootOptions.BootableEthernetDevice(deviceKey=4000),
                ],
            ),
            "files": vim.vm.FileInfo(vmPathName="[fast] web1/web1.vmx"),
            "hardware": vim.vm.VirtualHardware(numCPU=4, numCoresPerSocket=2, memoryMB=2048, device=devices),
            "extraConfig": [
                vim.option.OptionValue(key="nvram", value="web1.nvram"),
                vim.option.OptionValue(key="guestinfo.role", value="shop"),
                vim.option.OptionValue(key="scsi0:0.ctkEnabled", value="TRUE"),
            ],
            **members,
        }
    )
