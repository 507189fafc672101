"""What a discovery of a vCenter says of its machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyVmomi import vim

from runtime.clock import SystemClock
from tests.sim.vcenter.inventory import Folder
from tests.sim.vcenter.vcenter import Vcenter
from vsa.hypervisors import MachineSeen
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.disks_seen import disks_seen
from vsa.hypervisors.vcenter.hypervisor import VcenterHypervisor
from vsa.hypervisors.vcenter.limits import Limits, Most
from vsa.hypervisors.vcenter.settings import Settings
from vsa.hypervisors.vcenter.trust import Trust

Device = vim.vm.device
GIB = 1 << 30


@contextmanager
def discovering(sim: Vcenter) -> Iterator[VcenterHypervisor]:
    trust = Trust(sim.certificate.read_text())
    with sim, Connection(sim.address, sim.user, sim.password, trust, SystemClock()) as connection:
        yield VcenterHypervisor("vc", Settings(sim.address, sim.user, trust), connection, sim.password, Limits(Most()))


def found(hypervisor: VcenterHypervisor) -> dict[str, MachineSeen]:
    return {machine.name: machine for machine in hypervisor.discover()}


def test_a_machine_says_where_it_is_and_what_it_has(tmp_path: Path) -> None:
    sim = Vcenter(tmp_path)
    sim.datacenter.machines.put(Folder(sim, "Shop", None, "v"))
    web = sim.add_machine("web", [GIB, 2 * GIB], folder="Shop")
    web.set_custom("owner", "shop team")
    tag = sim.tags.tag("tier", "gold")
    tag.on.add(web.moid)
    sim.add_machine("off", [GIB], powered_on=False)
    with discovering(sim) as hypervisor:
        machines = found(hypervisor)
    seen = machines["web"]
    assert seen.id == f"{sim.instance_uuid}:{web.instance_uuid}"
    assert (seen.folder, seen.resource_pool) == ("DC1/Shop", "DC1/Cluster1")
    assert (seen.tags, dict(seen.attributes)) == (("tier:gold",), {"owner": "shop team"})
    assert [(disk.name, disk.size, disk.reason) for disk in seen.disks] == [
        ("Hard disk 1", GIB, None),
        ("Hard disk 2", 2 * GIB, None),
    ]
    assert (seen.power_state, machines["off"].power_state) == ("on", "off")
    assert seen.reason is None
    assert json.loads(seen.source) == {"vcenter": sim.instance_uuid, "moref": web.moid}


def test_a_template_is_shown_and_cannot_be_protected(tmp_path: Path) -> None:
    sim = Vcenter(tmp_path)
    sim.add_machine("golden", [GIB], template=True, powered_on=False)
    with discovering(sim) as hypervisor:
        assert found(hypervisor)["golden"].reason == "it is a template"


def test_a_machine_without_disks_cannot_be_protected(tmp_path: Path) -> None:
    sim = Vcenter(tmp_path)
    sim.add_machine("empty", [])
    with discovering(sim) as hypervisor:
        assert found(hypervisor)["empty"].reason == "it has no disk"


def test_the_machines_of_the_provider_of_a_cloud_are_hidden(tmp_path: Path) -> None:
    sim = Vcenter(tmp_path, cloud=True)
    sim.add_machine("web", [GIB])
    with discovering(sim) as hypervisor:
        machines = found(hypervisor)
    assert list(machines) == ["web"]
    assert machines["web"].folder == "SDDC-Datacenter/Workloads"


def test_a_folder_named_like_one_of_a_cloud_hides_nothing_elsewhere(tmp_path: Path) -> None:
    sim = Vcenter(tmp_path)
    sim.datacenter.machines.put(Folder(sim, "Management VMs", None, "v"))
    sim.add_machine("web", [GIB], folder="Management VMs")
    with discovering(sim) as hypervisor:
        assert list(found(hypervisor)) == ["web"]


def disk(controller: object = None, backing: object = None, **of_backing: object) -> object:
    flat = Device.VirtualDisk.FlatVer2BackingInfo(fileName="[ds] a.vmdk", **{"diskMode": "persistent", **of_backing})
    return Device.VirtualDisk(
        key=2000,
        controllerKey=1000,
        capacityInBytes=GIB,
        capacityInKB=GIB >> 10,
        deviceInfo=vim.Description(label="Hard disk 1", summary=""),
        backing=backing or flat,
    )


@pytest.mark.parametrize(
    ("of_backing", "says"),
    [
        ({}, None),
        ({"diskMode": "independent_persistent"}, "independent"),
        ({"diskMode": "independent_nonpersistent"}, "independent"),
        ({"sharing": "sharingNone"}, None),
        ({"sharing": "sharingMultiWriter"}, "multi-writer"),
    ],
)
def test_a_disk_that_snapshots_leave_out_says_so(of_backing: dict[str, str], says: str | None) -> None:
    (seen,) = disks_seen([disk(uuid="6000C29A-0000-0000-0000-000000000001", **of_backing)])
    assert seen.key == "6000c29a-0000-0000-0000-000000000001"
    assert (seen.reason is None) if says is None else (says in (seen.reason or ""))


def test_a_raw_device_in_physical_mode_says_so_and_one_in_virtual_mode_is_protected() -> None:
    raw = Device.VirtualDisk.RawDiskMappingVer1BackingInfo
    for mode, protected in (("physicalMode", False), ("virtualMode", True)):
        backing = raw(fileName="[ds] a.vmdk", compatibilityMode=mode, lunUuid="0200AB", diskMode="persistent")
        (seen,) = disks_seen([disk(backing=backing)])
        assert (seen.reason is None) is protected


def test_a_disk_on_a_shared_bus_says_so() -> None:
    controller = Device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="physicalSharing")
    (seen,) = disks_seen([controller, disk(uuid="a")])
    assert "physicalSharing" in (seen.reason or "")
