"""Machines made and changed by clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from tests.sim.connected import machine_of, result
from tests.sim.vcenter.vcenter import Vcenter

Dev = vim.vm.device


def add(device: Any, operation: str | None = None) -> Any:
    return Dev.VirtualDeviceSpec(operation="add", device=device, fileOperation=operation)


def new_disk(key: int, controller: int, unit: int, size: int, name: str = "") -> Any:
    backing = Dev.VirtualDisk.FlatVer2BackingInfo(fileName=name, diskMode="persistent", thinProvisioned=True)
    return add(
        Dev.VirtualDisk(
            key=key,
            controllerKey=controller,
            unitNumber=unit,
            backing=backing,
            capacityInKB=size // 1024,
            capacityInBytes=size,
        ),
        "create",
    )


def specification(name: str) -> Any:
    scsi = Dev.ParaVirtualSCSIController(key=-1, busNumber=0, sharedBus="noSharing")
    card = Dev.VirtualVmxnet3(
        key=-9,
        addressType="manual",
        macAddress="00:50:56:01:02:03",
        backing=Dev.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network"),
    )
    return vim.vm.ConfigSpec(
        name=name,
        guestId="debian12_64Guest",
        firmware="efi",
        numCPUs=3,
        memoryMB=2048,
        files=vim.vm.FileInfo(vmPathName="[datastore2]"),
        extraConfig=[vim.option.OptionValue(key="disk.EnableUUID", value="TRUE")],
        bootOptions=vim.vm.BootOptions(efiSecureBootEnabled=True),
        deviceChange=[add(scsi), new_disk(-2, -1, 0, 1 << 30), new_disk(-3, -1, 1, 2 << 30), add(card)],
    )


def create(service: Any, spec: Any) -> Any:
    center = service.content.rootFolder.childEntity[0]
    pool = center.hostFolder.childEntity[0].resourcePool
    return result(center.vmFolder.CreateVM_Task(config=spec, pool=pool))


def test_a_machine_is_made_as_its_specification_says(vcenter: Vcenter, service: Any) -> None:
    machine = create(service, specification("new"))
    config = machine.config
    assert (config.name, config.firmware, config.hardware.numCPU, config.hardware.memoryMB) == ("new", "efi", 3, 2048)
    assert config.bootOptions.efiSecureBootEnabled
    assert config.files.vmPathName == "[datastore2] new/new.vmx"
    assert {"disk.EnableUUID"} <= {each.key for each in config.extraConfig}
    by_key = {each.key: each for each in config.hardware.device}
    assert isinstance(by_key[1000], Dev.ParaVirtualSCSIController)
    assert by_key[1000].device == [2000, 2001]
    assert [by_key[key].backing.fileName for key in (2000, 2001)] == [
        "[datastore2] new/new.vmdk",
        "[datastore2] new/new_1.vmdk",
    ]
    assert (by_key[2001].capacityInBytes, by_key[2001].controllerKey) == (2 << 30, 1000)
    assert by_key[4000].macAddress == "00:50:56:01:02:03"
    assert machine.runtime.powerState == "poweredOff"
    result(machine.PowerOnVM_Task())
    assert machine.runtime.powerState == "poweredOn"


def test_a_second_machine_of_the_name_is_a_duplicate_and_nothing_is_left(vcenter: Vcenter, service: Any) -> None:
    create(service, specification("new"))
    with pytest.raises(vim.fault.DuplicateName):
        create(service, specification("new"))
    assert [each.name for each in vcenter.machines()] == ["new"]


def test_a_machine_that_cannot_be_furnished_is_not_there(vcenter: Vcenter, service: Any) -> None:
    spec = specification("new")
    spec.deviceChange = [new_disk(-2, -1, 0, 1 << 30)]  # without its controller
    with pytest.raises(vim.fault.InvalidController):
        create(service, spec)
    assert list(vcenter.machines()) == []


def test_disks_grow_and_never_shrink_nor_grow_under_snapshots(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [1 << 30])
    machine = machine_of(service, web.moid)

    def resize(size: int) -> None:
        disk = next(each for each in machine.config.hardware.device if each.key == 2000)
        disk.capacityInBytes, disk.capacityInKB = size, size // 1024
        change = Dev.VirtualDeviceSpec(operation="edit", device=disk)
        result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))

    resize(2 << 30)
    assert web.disk(0).size == 2 << 30
    with pytest.raises(vim.fault.InvalidDeviceOperation):
        resize(1 << 30)
    web.take_snapshot()
    with pytest.raises(vim.fault.InvalidDeviceOperation):
        resize(3 << 30)


def test_change_tracking_takes_effect_with_the_next_stun(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [1 << 30])
    machine = machine_of(service, web.moid)
    result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    backing = next(each for each in machine.config.hardware.device if each.key == 2000).backing
    assert machine.config.changeTrackingEnabled
    assert backing.changeId is None
    taken = result(machine.CreateSnapshotEx_Task(name="s", memory=False))
    assert next(each for each in taken.config.hardware.device if each.key == 2000).backing.changeId


def test_storage_vmotion_renames_files_and_keeps_bytes(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [64 << 20], change_tracking=True)
    web.guest_write(0, 4096, b"kept")
    machine = machine_of(service, web.moid)
    result(machine.Rename_Task("shop"))
    store = next(each for each in service.content.rootFolder.childEntity[0].datastore if each.name == "datastore2")
    result(machine.RelocateVM_Task(vim.vm.RelocateSpec(datastore=store)))
    backing = next(each for each in machine.config.hardware.device if each.key == 2000).backing
    assert backing.fileName == "[datastore2] shop/shop.vmdk"
    assert machine.config.files.vmPathName == "[datastore2] shop/web.vmx"
    assert web.disk_bytes(0, None, 4096, 4) == b"kept"


def test_a_machine_that_moves_to_another_vcenter_keeps_its_uuids_and_bytes(vcenter: Vcenter, tmp_path: Path) -> None:
    with Vcenter(tmp_path / "other", name="vc2") as other:
        web = vcenter.add_machine("web", [64 << 20], change_tracking=True)
        web.guest_write(0, 4096, b"kept")
        uuids = web.instance_uuid, web.disk(0).uuid
        change_id = web.disk(0).tracking.live_change_id or ""
        there = web.move_to_vcenter(other)
        assert (there.instance_uuid, there.disk(0).uuid) == uuids
        assert there.disk_bytes(0, None, 4096, 4) == b"kept"
        assert list(vcenter.machines()) == []
        assert (there.disk(0).tracking.live_change_id or "").rpartition("/")[0] != change_id.rpartition("/")[0]


def test_snapshots_leave_independent_disks_out(vcenter: Vcenter) -> None:
    web = vcenter.add_machine("web", [1 << 20, 1 << 20])
    web.set_disk_mode(1, "independent_persistent")
    taken = web.take_snapshot()
    assert list(taken.layers) == [2000]
    web.guest_write(1, 0, b"through")
    assert len(web.disk(1).layers) == 1
