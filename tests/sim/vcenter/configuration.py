"""The configuration of a new machine, before anything is attached to it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.clone import clone


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
        guestFullName=guest_name(guest_id),
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


def guest_name(guest_id: str) -> str:
    """Of an operating system, for people."""
    return _GUESTS.get(guest_id, "Other Linux (64-bit)")


def config_summary(config: Any, name: str) -> Any:
    """The summary of a configuration, under the name of the machine as it is told."""
    cards = [each for each in config.hardware.device if isinstance(each, vim.vm.device.VirtualEthernetCard)]
    disks = [each for each in config.hardware.device if isinstance(each, vim.vm.device.VirtualDisk)]
    return vim.vm.Summary.ConfigSummary(
        name=name,
        template=config.template,
        vmPathName=config.files.vmPathName,
        memorySizeMB=config.hardware.memoryMB,
        numCpu=config.hardware.numCPU,
        numEthernetCards=len(cards),
        numVirtualDisks=len(disks),
        uuid=config.uuid,
        instanceUuid=config.instanceUuid,
        guestId=config.guestId,
        guestFullName=config.guestFullName,
        annotation=config.annotation,
    )
