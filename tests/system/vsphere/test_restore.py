"""Machines come back: as new ones, over what is there, into a cloud, a disk at a time; or nothing is made at all."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from proto import agents_pb2
from proto.agent.work import Work, WorkCancelled
from runtime.faults import Fault
from tests.mediaagent.served import serving
from tests.sim.vcenter.inventory import Network
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.vsphere.site import Site, site
from vsa.faults import (
    DatastoreFull,
    HardwareUnsupported,
    HypervisorFailed,
    IdentityTaken,
    MachineExists,
    MachineMissing,
    MachineRunning,
    MachineUnfit,
    PlaceMissing,
    RestoreUnfit,
)
from vsa.hypervisors.vcenter.privileges import NEEDS

MIB = 1 << 20
IN_PLACE, ATTACH = agents_pb2.MachineTarget.IN_PLACE, agents_pb2.MachineTarget.ATTACH
Device = vim.vm.device


@pytest.fixture(scope="module")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vcenter]:
    with Vcenter(tmp_path_factory.mktemp("vc1")) as vcenter:
        yield vcenter


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("mediaagent")) as served, site(served) as made:
        yield made


@pytest.fixture
def clean(vcenter: Vcenter) -> Iterator[None]:
    yield
    vcenter.faults.clear()


def machine(vcenter: Vcenter, name: str, sizes: tuple[int, ...] = (2 * MIB, MIB), **how: Any) -> SimMachine:
    """A machine with something on its disks, and holes."""
    made = vcenter.add_machine(name, list(sizes), **how)
    rng = random.Random(name)
    for number, size in enumerate(sizes):
        made.guest_write(number, 0, rng.randbytes(size // 4))
        made.guest_write(number, size - 1536, rng.randbytes(1536))
    return made


def shape(made: SimMachine) -> list[tuple[Any, ...]]:
    """Its devices and where they are, but for what is new in every machine."""
    devices = made.machine.config.hardware.device
    bus = {each.key: each.busNumber for each in devices if isinstance(each, Device.VirtualController)}
    return sorted(
        (
            type(each).__name__,
            bus.get(each.key, bus.get(each.controllerKey, -1)),
            -1 if each.key in bus else each.unitNumber or 0,
            getattr(each, "capacityInBytes", None) or 0,
            str(getattr(getattr(each, "backing", None), "thinProvisioned", None)),
        )
        for each in devices
    )


def everything(made: SimMachine) -> list[bytes]:
    return [made.disk_bytes(number) for number in range(len(made.machine.disks))]


def names(vcenter: Vcenter) -> set[str]:
    return {each.name for each in vcenter.machines()}


def test_a_machine_comes_back_as_a_new_one_byte_for_byte_and_device_by_device(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "web1", networks=["VM Network", "DPG-10"], annotation="the shop")
    point = agent.protect(vcenter, was)
    at_the_point = everything(was)
    was.guest_write(0, 0, b"later")

    result = agent.restore(point, vcenter, name="web1-restored")

    back = vcenter.machine("web1-restored")
    assert everything(back) == at_the_point
    assert shape(back) == shape(was)
    new, old = back.machine.config, was.machine.config
    assert new.instanceUuid != old.instanceUuid
    assert new.uuid != old.uuid
    assert (new.annotation, new.hardware.memoryMB, new.version) == ("the shop", old.hardware.memoryMB, old.version)
    assert not [each for each in new.extraConfig if each.key.startswith("ingot.") and each.value]
    macs = [each.macAddress for made in (new, old) for each in made.hardware.device if hasattr(each, "macAddress")]
    assert len(set(macs)) == 4
    assert result["machine"] == f"{vcenter.instance_uuid}:{new.instanceUuid}"
    assert result["lost_bytes"] == 0
    assert result["read_back_bytes"] > 0
    assert agent.warnings == []
    assert back.machine.power == "poweredOff"


def test_a_new_machine_is_turned_on_only_when_somebody_asks(vcenter: Vcenter, agent: Site) -> None:
    point = agent.protect(vcenter, machine(vcenter, "on1"))

    agent.restore(point, vcenter, name="on1-restored", power_on=True)

    assert vcenter.machine("on1-restored").machine.power == "poweredOn"


@pytest.mark.parametrize(("asked", "thin"), [("THIN", True), ("THICK", False)])
def test_disks_are_thin_or_thick_as_somebody_asks(vcenter: Vcenter, agent: Site, asked: str, thin: bool) -> None:
    was = machine(vcenter, f"p-{asked}", (MIB,), thin=not thin)
    point = agent.protect(vcenter, was)

    agent.restore(
        point, vcenter, name=f"p-{asked}-restored", provisioning=agents_pb2.MachineTarget.Provisioning.Value(asked)
    )

    back = vcenter.machine(f"p-{asked}-restored")
    disks = [each for each in back.machine.config.hardware.device if isinstance(each, Device.VirtualDisk)]
    assert [bool(each.backing.thinProvisioned) for each in disks] == [thin]
    assert everything(back) == everything(was)


def test_in_place_only_what_a_guest_changed_is_written(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "db1", (8 * MIB,))
    point = agent.protect(vcenter, was)
    at_the_point = everything(was)
    was.guest_write(0, 64 << 10, b"a guest wrote this")
    was.guest_write(0, 5 * MIB, b"and this, into a hole")
    identity = was.instance_uuid

    with pytest.raises(MachineRunning, match="--power-off"):
        agent.restore(point, vcenter, how=IN_PLACE)
    result = agent.restore(point, vcenter, how=IN_PLACE, power_off=True, power_on=True)

    assert everything(was) == at_the_point
    assert 0 < result["bytes_written"] < MIB
    assert result["compared_bytes"] >= 2 * MIB
    assert was.instance_uuid == identity
    assert was.machine.power == "poweredOn"


def test_one_disk_in_place_leaves_the_others_alone(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "db2", (MIB, MIB), powered_on=False)
    point = agent.protect(vcenter, was)
    before = everything(was)
    for number in (0, 1):
        was.guest_write(number, 4096, b"changed")
    changed = everything(was)

    agent.restore(point, vcenter, how=IN_PLACE, disks=[1])

    assert everything(was) == [changed[0], before[1]]


def test_a_disk_that_grew_since_is_not_overwritten(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "db3", (MIB,), powered_on=False)
    point = agent.protect(vcenter, was)
    was.resize(0, 2 * MIB)
    before = everything(was)

    with pytest.raises(RestoreUnfit, match=f"expected at most {MIB} bytes, found {2 * MIB}: vSphere makes no"):
        agent.restore(point, vcenter, how=IN_PLACE)

    assert everything(was) == before


def made_smaller(was: SimMachine, size: int) -> None:
    """As if somebody had put another, smaller disk in the place of the first."""
    with was.machine.vcenter.changes.lock:
        disk = was.disk(0)
        disk.write(size, bytes(disk.size - size))
        disk.size = size
        device = was.machine.device(disk.key)
        device.capacityInBytes, device.capacityInKB = size, size // 1024
        was.machine.touch()


def test_a_disk_that_is_smaller_now_grows_and_is_overwritten(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "db4", powered_on=False)
    point = agent.protect(vcenter, was)
    before = everything(was)
    made_smaller(was, MIB)

    result = agent.restore(point, vcenter, how=IN_PLACE)

    assert everything(was) == before
    assert was.machine.device(was.disk(0).key).capacityInBytes == 2 * MIB
    assert result["bytes_written"] >= 1536, "what the smaller disk had no room for"


def test_a_disk_of_a_machine_with_snapshots_does_not_grow_and_nothing_is_written(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "db5")
    point = agent.protect(vcenter, was)
    made_smaller(was, MIB)
    before, users = everything(was), was.take_snapshot()

    with pytest.raises(RestoreUnfit, match="expected no snapshots, because a disk must grow"):
        agent.restore(point, vcenter, how=IN_PLACE, power_off=True)

    assert everything(was) == before
    assert (was.snapshots, was.machine.power) == ([users], "poweredOn")


def test_a_disk_that_cannot_grow_leaves_the_machine_as_it_was(vcenter: Vcenter, agent: Site, clean: None) -> None:
    was = machine(vcenter, "db6", powered_on=False)
    point = agent.protect(vcenter, was)
    made_smaller(was, MIB)
    before = everything(was)
    vcenter.faults.plan("ReconfigVM_Task", vim.fault.GenericVmConfigFault, where="task")

    with pytest.raises(HypervisorFailed):
        agent.restore(point, vcenter, how=IN_PLACE)

    assert everything(was) == before
    assert not [each for each in was.machine.config.extraConfig if each.key.startswith("ingot.") and each.value]


def test_a_disk_is_attached_to_another_machine(vcenter: Vcenter, agent: Site) -> None:
    was, other = machine(vcenter, "a1"), machine(vcenter, "a2", (MIB,), powered_on=False)
    point = agent.protect(vcenter, was)
    own = everything(other)

    agent.restore(point, vcenter, how=ATTACH, disks=[1], machine=f"{vcenter.instance_uuid}:{other.instance_uuid}")

    assert everything(other) == [*own, was.disk_bytes(1)]


def test_a_machine_is_restored_into_a_cloud_without_naming_a_place(
    vcenter: Vcenter, agent: Site, tmp_path: Path
) -> None:
    Network(vcenter, "Shop", vcenter.datacenter)
    was = machine(vcenter, "shop1", networks=["Shop"])
    point = agent.protect(vcenter, was)
    with Vcenter(tmp_path / "cloud", name="cloud", cloud=True) as cloud:
        with pytest.raises(PlaceMissing, match="network 'Shop' is not there"):
            agent.restore(point, cloud)
        assert "shop1" not in names(cloud)
        there = {"Shop": "sddc-cgw-network-1"}
        agent.restore(point, cloud, networks=there, keep_identity=True, power_on=True)

        back = cloud.machine("shop1")
        assert everything(back) == everything(was)
        assert back.instance_uuid == was.instance_uuid
        assert back.machine.pool.name == "Compute-ResourcePool"
        assert back.machine.parent.name == "Workloads"
        assert back.machine.config.files.vmPathName.startswith("[WorkloadDatastore]")


def test_an_efi_machine_gets_its_nvram_back(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "efi1", (MIB,), firmware="efi")
    point = agent.protect(vcenter, was)
    kept = point.description["files"]["nvram"]["content"]

    agent.restore(point, vcenter, name="efi1-restored")

    back = vcenter.machine("efi1-restored")
    again = agent.protect(vcenter, back)
    assert back.machine.config.firmware == "efi"
    assert again.description["files"]["nvram"]["content"] == kept
    assert agent.warnings == []


def test_tags_and_custom_values_come_back_where_there_are_such(vcenter: Vcenter, agent: Site, tmp_path: Path) -> None:
    was = machine(vcenter, "tag1", (MIB,))
    was.set_custom("owner", "shop")
    vcenter.tags.tag("Tier", "gold").on.add(was.moid)
    point = agent.protect(vcenter, was)

    agent.restore(point, vcenter, name="tag1-restored")

    back = vcenter.machine("tag1-restored")
    assert [each.name for each in vcenter.tags.on(back.moid)] == ["gold"]
    again = agent.protect(vcenter, back)
    assert again.description["machine"]["custom_values"] == {"owner": "shop"}
    assert agent.warnings == []
    with Vcenter(tmp_path / "bare", name="bare") as bare:
        agent.restore(point, bare)
        assert everything(bare.machine("tag1")) == everything(was)
        assert sorted(line.partition(" do")[0] for line in agent.warnings) == [
            "its custom attribute 'owner'",
            "its tags Tier:gold",
        ]


def test_an_identity_that_somebody_has_is_not_given_again(vcenter: Vcenter, agent: Site) -> None:
    point = agent.protect(vcenter, machine(vcenter, "id1", (MIB,)))

    with pytest.raises(IdentityTaken, match="instance uuid"):
        agent.restore(point, vcenter, name="id1-restored", keep_identity=True)

    assert "id1-restored" not in names(vcenter)


def under(vcenter: Vcenter, name: str) -> dict[int, str]:
    """Its storage policies by device key; 0 is its home."""
    return vcenter.policies.of(vcenter.machine(name).machine)


def test_a_machine_comes_back_under_the_policies_of_the_same_names_or_as_mapped(agent: Site, tmp_path: Path) -> None:
    with Vcenter(tmp_path / "policies1", name="policies1") as here, Vcenter(tmp_path / "policies2", name="p2") as there:
        here.policies.add("Gold", "Silver")
        there.policies.add("Bronze", "Gold", "Platinum")
        was = machine(here, "polled")
        here.policies.assign(was.machine, "Gold", {2001: "Silver"})
        point = agent.protect(here, was)
        here.policies.assign(was.machine, "Silver")

        agent.restore(point, here, name="same")
        agent.restore(point, there, name="mapped", policies={"Silver": "Bronze"})
        agent.restore(point, there, name="all", policies={"": "Platinum"})
        agent.restore(point, there, name="plain", policies={"": ""})
        with pytest.raises(
            PlaceMissing, match=r"'Silver' is not there; there are Bronze, Gold.*--policy 'Silver=NAME'"
        ):
            agent.restore(point, there, name="missing")
        was.guest_write(0, 0, b"later")
        agent.restore(point, here, how=IN_PLACE, power_off=True)

        assert under(here, "same") == {0: "Gold", 2001: "Silver"}
        assert under(there, "mapped") == {0: "Gold", 2001: "Bronze"}
        assert under(there, "all") == {0: "Platinum", 2000: "Platinum", 2001: "Platinum"}
        assert under(there, "plain") == {}
        assert under(here, "polled") == {0: "Silver"}
        assert "missing" not in names(there)
        assert agent.warnings == []


def test_policies_that_a_backup_could_not_read_are_a_warning_of_the_restore(agent: Site, tmp_path: Path) -> None:
    with Vcenter(tmp_path / "blind", name="blind") as blind:
        blind.policies.add("Gold")
        was = machine(blind, "unread", (MIB,))
        blind.policies.assign(was.machine, "Gold")
        blind.user, blind.password = "backup@vsphere.local", "Blind-Secret-1"
        blind.add_user(blind.user, blind.password, {need.privilege for need in NEEDS} - {"StorageProfile.View"})
        point = agent.protect(blind, was)
        assert not [each for each in agent.warnings if "polic" in each]

        agent.restore(point, blind, name="told")
        assert [
            each for each in agent.warnings if "no storage policy of its own" in each and "StorageProfile.View" in each
        ]
        with pytest.raises(PlaceMissing, match=r"'Gold' cannot be looked up; --policy = takes"):
            agent.restore(point, blind, name="asked", policies={"": "Gold"})
        blind.authorization.add_role("Sighted", {need.privilege for need in NEEDS})
        blind.authorization.set(blind.user, "Sighted", blind.root)
        agent.restore(point, blind, name="asked", policies={"": "Gold"})

        assert agent.warnings == []
        assert under(blind, "told") == {}
        assert under(blind, "asked") == {0: "Gold", 2000: "Gold"}


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ({"datastores": {"": "nowhere"}}, "datastore 'nowhere' is not there; there are datastore1, datastore2"),
        ({"networks": {"": "nowhere"}}, "network 'nowhere' is not there; there are DPG-10, "),
        ({"pool": "nowhere"}, "resource pool 'nowhere' is not there; there are DC1/Cluster1"),
        ({"folder": "nowhere"}, "folder 'nowhere' is not there"),
    ],
)
def test_a_place_that_is_not_there_is_named_before_anything_is_made(
    vcenter: Vcenter, agent: Site, target: dict[str, Any], named: str
) -> None:
    if "place1" not in names(vcenter):
        machine(vcenter, "place1", (MIB,))
    point = agent.protect(vcenter, vcenter.machine("place1"))
    calls = vcenter.faults.calls.get("CreateVM_Task", 0)

    with pytest.raises(PlaceMissing) as caught:
        agent.restore(point, vcenter, name="place1-restored", **target)

    assert named in str(caught.value)
    assert vcenter.faults.calls.get("CreateVM_Task", 0) == calls


def test_a_machine_too_new_for_a_cluster_is_not_made_there(vcenter: Vcenter, agent: Site, tmp_path: Path) -> None:
    point = agent.protect(vcenter, machine(vcenter, "new1", (MIB,)))
    with Vcenter(tmp_path / "old", name="old") as old:
        old.cluster.browser.versions = ["vmx-13", "vmx-17"]
        with pytest.raises(HardwareUnsupported, match="vmx-20: expected one that can be made there: vmx-13, vmx-17"):
            agent.restore(point, old)
        assert "new1" not in names(old)


def test_disks_that_do_not_fit_are_not_begun(vcenter: Vcenter, agent: Site, tmp_path: Path) -> None:
    point = agent.protect(vcenter, machine(vcenter, "big1", (4 * MIB,)))
    with Vcenter(tmp_path / "full", name="full") as full:
        full.datastore.free_bytes = MIB // 2
        with pytest.raises(DatastoreFull, match="datastore datastore1"):
            agent.restore(point, full)
        agent.restore(point, full, datastores={"datastore1": "datastore2"})
        assert full.machine("big1").machine.config.files.vmPathName.startswith("[datastore2]")


@pytest.mark.usefixtures("clean")
def test_what_can_only_be_said_late_is_a_warning_and_costs_no_machine(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "late1", (MIB,))
    point = agent.protect(vcenter, was)
    vcenter.faults.plan("ReconfigVM_Task", "InvalidState", where="task")
    vcenter.faults.plan("PowerOnVM_Task", "InsufficientResourcesFault", where="task")

    agent.restore(point, vcenter, name="late1-restored", power_on=True)

    assert everything(vcenter.machine("late1-restored")) == everything(was)
    assert [line.partition(":")[0] for line in agent.warnings] == [
        "its boot order and its video card's settings do not come back",
        "it is restored, and cannot be turned on",
    ]
    assert agent.protect(vcenter, vcenter.machine("late1-restored"))
    with pytest.raises(MachineExists) as taken:
        agent.restore(point, vcenter, name="late1-restored")
    assert "half-made" not in str(taken.value)


def test_a_user_with_the_documented_privileges_and_no_other_restores(agent: Site, tmp_path: Path) -> None:
    with Vcenter(tmp_path / "least", name="least") as least:
        was, other = machine(least, "least1"), machine(least, "least2", (MIB,), powered_on=False)
        least.user, least.password = "backup@vsphere.local", "Least-Secret-1"
        least.sessions.password_by_user[least.user] = least.password
        least.authorization.add_role("Ingot", {need.privilege for need in NEEDS})
        least.authorization.set(least.user, "Ingot", least.root)
        point = agent.protect(least, was)
        held = everything(was)

        agent.restore(point, least, name="least1-restored", power_on=True)
        assert agent.warnings == []
        made_smaller(was, MIB)
        agent.restore(point, least, how=IN_PLACE, power_off=True)
        agent.restore(
            point, least, how=ATTACH, disks=[1], machine=f"{least.instance_uuid}:{other.instance_uuid}", power_on=True
        )

        assert everything(least.machine("least1-restored")) == everything(was) == held
        assert everything(other)[1] == held[1]


def test_a_name_that_is_taken_is_refused(vcenter: Vcenter, agent: Site) -> None:
    point = agent.protect(vcenter, machine(vcenter, "taken1", (MIB,)))

    with pytest.raises(MachineExists, match="taken1"):
        agent.restore(point, vcenter)


def test_a_machine_that_is_gone_cannot_be_restored_in_place(vcenter: Vcenter, agent: Site, tmp_path: Path) -> None:
    point = agent.protect(vcenter, machine(vcenter, "gone1", (MIB,)))
    with Vcenter(tmp_path / "other", name="other") as other, pytest.raises(MachineMissing, match="instance uuid"):
        agent.restore(point, other, how=IN_PLACE)


@pytest.mark.usefixtures("clean")
def test_a_restore_that_fails_in_the_middle_leaves_no_machine(vcenter: Vcenter, agent: Site) -> None:
    point = agent.protect(vcenter, machine(vcenter, "fail1"))
    vcenter.faults.plan("nbd.written", "NotSupported")

    def cancelled(work: Any) -> None:
        advance, done = work.advance, [0]

        def stop(count: int) -> None:
            done[0] += count
            if done[0] > MIB:
                work.cancel("by a person")
            advance(count)

        work.advance = stop

    with pytest.raises(WorkCancelled):
        agent.restore(point, vcenter, name="fail1-restored", begun=cancelled)

    assert "fail1-restored" not in names(vcenter)
    assert agent.warnings == []


@pytest.mark.usefixtures("clean")
def test_what_cannot_be_removed_again_is_told(vcenter: Vcenter, agent: Site) -> None:
    point = agent.protect(vcenter, machine(vcenter, "fail2", (MIB,)))
    vcenter.faults.plan("Destroy_Task", "NoPermission")

    def cancelled(work: Any) -> None:
        advance = work.advance

        def stop(count: int) -> None:
            work.cancel("by a person")
            advance(count)

        work.advance = stop

    with pytest.raises(WorkCancelled):
        agent.restore(point, vcenter, name="fail2-restored", begun=cancelled)

    assert any("fail2-restored is left half-made" in line for line in agent.warnings)
    with pytest.raises(MachineUnfit, match="half-made by the restore of job"):
        agent.protect(vcenter, vcenter.machine("fail2-restored"))
    with pytest.raises(MachineExists, match="half-made by the restore of job"):
        agent.restore(point, vcenter, name="fail2-restored")


@pytest.mark.usefixtures("clean")
def test_another_attempt_of_the_same_job_goes_on_with_what_the_first_left(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "again1")
    point = agent.protect(vcenter, was)

    class Died(BaseException):
        """As when the process ends: nobody cleans up."""

    vcenter.faults.plan("Destroy_Task", "NoPermission")

    def dying(work: Any) -> None:
        advance, done = work.advance, [0]

        def die(count: int) -> None:
            done[0] += count
            if done[0] > 2 * MIB:
                raise Died
            advance(count)

        work.advance = die

    with pytest.raises(Died):
        agent.restore(point, vcenter, name="again1-restored", begun=dying, job="the-same")
    creations = vcenter.faults.calls["CreateVM_Task"]

    result = agent.restore(point, vcenter, name="again1-restored", job="the-same")

    back = vcenter.machine("again1-restored")
    assert everything(back) == everything(was)
    assert vcenter.faults.calls["CreateVM_Task"] == creations
    assert result["kept_bytes"] > 0


@pytest.mark.usefixtures("clean")
def test_an_answer_that_is_lost_makes_no_second_machine(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "lost1", (MIB,))
    point = agent.protect(vcenter, was)
    vcenter.faults.plan("CreateVM_Task", where="cut-after")

    agent.restore(point, vcenter, name="lost1-restored")

    assert [each.name for each in vcenter.machines() if each.name.startswith("lost1-")] == ["lost1-restored"]
    assert everything(vcenter.machine("lost1-restored")) == everything(was)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    ("method", "fault", "where"),
    [
        ("CreateVM_Task", "NoDiskSpace", "task"),
        ("CreateVM_Task", "InvalidDeviceSpec", "call"),
        ("nbd.open", "NotSupported", "call"),
        ("ReconfigVM_Task", "InvalidState", "task"),
    ],
)
def test_wherever_a_restore_fails_no_machine_is_left(
    vcenter: Vcenter, agent: Site, method: str, fault: str, where: str
) -> None:
    if "fail3" not in names(vcenter):
        machine(vcenter, "fail3", (MIB,))
    point = agent.protect(vcenter, vcenter.machine("fail3"))
    vcenter.faults.plan(method, fault, where=where, times=9)

    with pytest.raises(Fault):
        agent.restore(point, vcenter, name="fail3-restored")

    assert "fail3-restored" not in names(vcenter)
    assert not [line for line in agent.warnings if "half-made" in line]


def test_wherever_a_restore_is_cancelled_no_machine_is_left(vcenter: Vcenter, agent: Site) -> None:
    was = machine(vcenter, "stop1", (MIB,))
    point = agent.protect(vcenter, was)

    def cancelled_at(count: int) -> Callable[[Work], None]:
        def begun(work: Work) -> None:
            check, left = work.check, [count]

            def checked() -> None:
                left[0] -= 1
                if left[0] == 0:
                    work.cancel("by a person")
                check()

            work.check = checked  # type: ignore[method-assign]

        return begun

    for count in range(1, 200):
        try:
            agent.restore(point, vcenter, name="stop1-restored", begun=cancelled_at(count))
        except WorkCancelled:
            assert "stop1-restored" not in names(vcenter), count
        else:
            break

    assert count > 5
    assert everything(vcenter.machine("stop1-restored")) == everything(was)
