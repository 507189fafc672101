"""QueryChangedDiskAreas: what a disk's tracking says, in pages."""

from __future__ import annotations

import re
from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, serves
from tests.sim.vcenter.snapshots import Snapshot
from tests.sim.vcenter.tracking import AREAS_MAX, BLOCK_BYTES, TrackingLost

_CHANGE_ID = re.compile(r"[0-9a-f -]+/[0-9]+")


@serves(vim.VirtualMachine, "QueryChangedDiskAreas", "VirtualMachine.Provisioning.DiskRandomRead")
def query_changed_areas(
    call: Call, machine: Machine, deviceKey: int, startOffset: int, changeId: str, snapshot: Any = None
) -> Any:
    disk = machine.disks.get(deviceKey)
    if disk is None:
        raise vmodl.fault.InvalidArgument(invalidProperty="deviceKey")
    frozen = machine.current
    if snapshot is not None:
        frozen = call.vcenter.need(snapshot)
        if not isinstance(frozen, Snapshot) or frozen.machine is not machine:
            raise vmodl.fault.InvalidArgument(invalidProperty="snapshot")
    size = disk.size if frozen is None else frozen.sizes.get(deviceKey, disk.size)
    if not 0 <= startOffset < size:
        raise vmodl.fault.InvalidArgument(invalidProperty="startOffset")
    if changeId != "*" and not _CHANGE_ID.fullmatch(changeId):
        raise vmodl.fault.InvalidArgument(invalidProperty="changeId")
    layers = disk.layers if frozen is None else frozen.layers.get(deviceKey, disk.layers)
    until = disk.tracking.live_change_id if frozen is None else frozen.change_ids.get(deviceKey)
    try:
        if changeId == "*":
            if disk.tracking.fails_with is not None or until is None:
                raise TrackingLost(disk.tracking.fails_with or "noTrack")
            areas = disk.data(layers).rounded(BLOCK_BYTES, size)
        else:
            areas = disk.tracking.changed(changeId, until or "", size)
    except TrackingLost as lost:
        raise _file_fault(layers[-1].file_name, lost.reason) from lost
    found = list(areas.within(startOffset, size))
    end = size if len(found) <= AREAS_MAX else found[AREAS_MAX][0]
    return vim.VirtualMachine.DiskChangeInfo(
        startOffset=startOffset,
        length=end - startOffset,
        changedArea=[
            vim.VirtualMachine.DiskChangeInfo.DiskChangeExtent(start=first, length=last - first)
            for first, last in found[:AREAS_MAX]
        ],
    )


def _file_fault(file: str, reason: str) -> Any:
    key = f"vim.hostd.vmsvc.cbt.{reason}"
    message = vmodl.LocalizableMessage(key=key, message=f"{key}: changes of {file} cannot be told")
    return vim.fault.FileFault(file=file, faultMessage=[message], msg=f"Error caused by file {file}")
