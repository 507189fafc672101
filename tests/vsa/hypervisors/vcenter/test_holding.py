"""A machine held still, read and let go of, against the simulated vCenter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from media.backup import Source
from media.session_log import ParentDisk
from tests.media.fakes import FakeClock
from tests.sim.vcenter.inventory import Datastore, Host
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.tasks import Task
from tests.sim.vcenter.vcenter import Vcenter
from tests.vsa.hypervisors.purposes import SITE, Heard, purpose
from tests.vsa.hypervisors.vcenter.site import MIB, ways
from vsa.faults import (
    DatastoreFull,
    HypervisorFailed,
    MachineMissing,
    MachineMoved,
    MachineUnfit,
    SnapshotFailed,
    SnapshotTooOld,
)
from vsa.hypervisors import Wish
from vsa.hypervisors.vcenter.holding import Ways, holding
from vsa.hypervisors.vcenter.known_bugs import bug_of
from vsa.hypervisors.vcenter.marks import Mark


@pytest.fixture
def vcenter(tmp_path: Path) -> Iterator[Vcenter]:
    with Vcenter(tmp_path / "vcenter") as running:
        yield running
        assert running.unexpected == []


@pytest.fixture
def there(vcenter: Vcenter) -> Iterator[Ways]:
    with ways(vcenter) as found:
        yield found


@pytest.fixture
def web(vcenter: Vcenter) -> SimMachine:
    machine = vcenter.add_machine("web", [8 * MIB, 4 * MIB], change_tracking=True)
    machine.guest_write(0, 5000, b"system")
    machine.guest_write(1, MIB, b"data" * 1000)
    return machine


def id_of(vcenter: Vcenter, machine: SimMachine) -> str:
    return f"{vcenter.instance_uuid}:{machine.instance_uuid}"


def read(source: Source) -> bytes:
    buffer = bytearray(source.disk.size)
    source.disk.read_into(0, memoryview(buffer))
    source.disk.check()
    return bytes(buffer)


def set_build(vcenter: Vcenter, version: str, build: str) -> None:
    for host in vcenter.each(Host):
        host.version, host.build = version, build
        host.touch()


def parents_of(sources: list[Source]) -> dict[str, ParentDisk]:
    return {source.key: ParentDisk(source.disk.size, True, source.change_id) for source in sources}


def test_a_machine_is_read_as_it_was_at_its_snapshot_which_is_gone_afterwards(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    expected = [web.disk_bytes(0), web.disk_bytes(1)]
    heard = Heard()
    with holding(there, id_of(vcenter, web), purpose(heard)) as held:
        [snapshot] = web.snapshots
        assert snapshot.description == str(Mark(SITE, "job", 1))
        web.guest_write(0, 5000, b"changed")
        sources = held.sources({})
        assert [read(source) for source in sources] == expected
        held.let_go()
    assert web.snapshots == []
    assert heard.warnings == []
    report = held.report()
    assert [disk["read"] for disk in report["disks"]] == ["full", "full"]
    assert report["snapshot"]["removed"]
    assert report["snapshot"]["quiesced"] == "filesystem", "a guest that is not Windows knows no more"
    assert {disk["transport"] for disk in report["disks"]} == {"nbd (nbdkit vddk)"}


def test_what_changed_since_the_parent_is_asked_for_and_nothing_else_is_read(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    with holding(there, id_of(vcenter, web), purpose()) as held:
        parents = parents_of(held.sources({}))
    web.guest_write(1, 2 * MIB + 1, b"x")
    with holding(there, id_of(vcenter, web), purpose(fence=2)) as held:
        first, second = held.sources(parents)
        assert first.changes == []
        assert second.changes == [(2 * MIB, 65536)]
        assert first.change_id != parents[first.key].change_id


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda web: web.power_loss(), "began anew"),
        (lambda web: web.reset_tracking(), "began anew"),
        (lambda web: web.resize(1, 6 * MIB), "was resized from"),
        (lambda web: web.fail_tracking("cannotGetChanges"), "cannotGetChanges"),
    ],
)
def test_what_tracking_cannot_tell_is_read_whole(
    vcenter: Vcenter, there: Ways, web: SimMachine, spoil: Any, reason: str
) -> None:
    with holding(there, id_of(vcenter, web), purpose()) as held:
        parents = parents_of(held.sources({}))
    spoil(web)
    with holding(there, id_of(vcenter, web), purpose(fence=2)) as held:
        second = held.sources(parents)[1]
        assert second.changes is None
        assert read(second) == web.disk_bytes(1)
    assert reason in held.report()["disks"][1]["reason"]


def test_tracking_is_switched_on_before_the_first_snapshot(vcenter: Vcenter, there: Ways) -> None:
    plain = vcenter.add_machine("plain", [MIB])
    with holding(there, id_of(vcenter, plain), purpose()) as held:
        [source] = held.sources({})
        assert source.change_id is not None
    assert plain.machine.config.changeTrackingEnabled
    assert plain.snapshots == []


def test_tracking_stays_off_while_somebody_elses_snapshot_is_there(vcenter: Vcenter, there: Ways) -> None:
    plain = vcenter.add_machine("plain", [MIB])
    plain.guest_write(0, 0, b"before")
    theirs = plain.take_snapshot()
    plain.guest_write(0, 0, b"after ")
    heard = Heard()
    with holding(there, id_of(vcenter, plain), purpose(heard)) as held:
        [source] = held.sources({})
        assert source.change_id is None
        assert read(source)[:6] == b"after "
    assert plain.snapshots == [theirs]
    assert "cannot be switched on while the machine has snapshots" in heard.warnings[0]


def test_a_failing_quiesce_is_tried_three_times_and_then_less_is_taken(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    vcenter.faults.plan("CreateSnapshotEx_Task", vim.fault.ApplicationQuiesceFault, where="task", times=6)
    heard, clock = Heard(), FakeClock()
    with holding(there, id_of(vcenter, web), purpose(heard, clock=clock)) as held:
        assert held.report()["snapshot"]["quiesced"] == "crash"
    assert clock.seconds == 4 * 5
    assert [warning.partition(":")[0] for warning in heard.warnings] == [
        "not held still as an application copy",
        "not held still as an filesystem copy",
    ]


def test_a_plan_that_does_not_fall_back_fails_and_leaves_nothing(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    vcenter.faults.plan("CreateSnapshotEx_Task", vim.fault.ApplicationQuiesceFault, where="task", times=3)
    why = purpose(wish=Wish(fall_back=False))
    with pytest.raises(SnapshotFailed, match="after 3 tries"), holding(there, id_of(vcenter, web), why):
        pass
    assert web.snapshots == []


def test_a_snapshot_is_removed_whatever_fails_while_it_is_held(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    def fail() -> None:
        with holding(there, id_of(vcenter, web), purpose()) as held:
            held.sources({})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert web.snapshots == []


def test_a_removal_that_fails_is_a_warning_and_the_next_hold_removes_what_was_left(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    vcenter.faults.plan("RemoveSnapshot_Task", vim.fault.GenericVmConfigFault, where="task", times=3)
    heard = Heard()
    with holding(there, id_of(vcenter, web), purpose(heard)):
        pass
    assert "the snapshot could not be removed" in heard.warnings[-1]
    [left] = web.snapshots
    asked = []

    def ended(job: str, fence: int) -> bool:
        asked.append((job, fence))
        return True

    with holding(there, id_of(vcenter, web), purpose(fence=2, ended=ended)):
        assert left not in web.snapshots
    assert asked == [("job", 1)]
    assert web.snapshots == []


def test_a_snapshot_of_a_lease_that_may_go_on_and_those_of_others_stay(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    zombie = web.take_snapshot("ingot backup", str(Mark(SITE, "job", 1)))
    foreign = web.take_snapshot("ingot backup", str(Mark("another site", "job", 1)))
    users = web.take_snapshot("before the update", "by hand")
    with holding(there, id_of(vcenter, web), purpose(fence=2, ended=lambda *_: False)):
        pass
    with holding(there, id_of(vcenter, web), purpose(fence=3, ended=lambda job, fence: (job, fence) == ("job", 2))):
        pass
    assert web.snapshots == [zombie, foreign, users]


def test_a_lost_answer_to_a_snapshot_leaves_no_second_one(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    vcenter.faults.plan("CreateSnapshotEx_Task", where="cut-after")
    with holding(there, id_of(vcenter, web), purpose()):
        assert len(web.snapshots) == 1
    assert web.snapshots == []


def test_a_machine_that_moves_while_it_is_read_is_read_again(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    other = next(host for host in vcenter.each(Host) if host is not web.machine.host)
    with holding(there, id_of(vcenter, web), purpose()) as held:
        first = held.sources({})[0]
        web.move(other)
        with pytest.raises(MachineMoved, match="was at"):
            first.disk.check()
        assert [read(source) for source in held.sources({})] == [web.disk_bytes(0), web.disk_bytes(1)]


def test_a_machine_that_went_elsewhere_and_came_back_while_it_was_read_is_read_again(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    home, away = (vcenter.named(Datastore, name) for name in ("datastore1", "datastore2"))
    tasks, machine = there.connection.tasks, vim.VirtualMachine(web.moid, there.connection.stub)
    with holding(there, id_of(vcenter, web), purpose()) as held:
        first = held.sources({})[0]
        for store in (away, home):
            tasks.run(machine, machine.RelocateVM_Task, vim.vm.RelocateSpec(datastore=store.ref))
        with pytest.raises(MachineMoved, match=r"was moved while it was read, by VirtualMachine\.relocate"):
            first.disk.check()
        assert [read(source) for source in held.sources({})] == [web.disk_bytes(0), web.disk_bytes(1)]


def test_a_move_that_failed_costs_nothing(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    machine = vim.VirtualMachine(web.moid, there.connection.stub)
    vcenter.faults.plan("RelocateVM_Task", vim.fault.GenericVmConfigFault, where="task")
    with holding(there, id_of(vcenter, web), purpose()) as held:
        [first, _] = held.sources({})
        with pytest.raises(HypervisorFailed):
            there.connection.tasks.run(machine, machine.RelocateVM_Task, vim.vm.RelocateSpec())
        assert read(first) == web.disk_bytes(0)


def begin_move(vcenter: Vcenter, web: SimMachine, key: str, what: str, state: str = "running") -> Task:
    """As DRS or another person begins one."""
    info = vim.TaskInfo(
        key=key,
        task=vim.Task(key),
        descriptionId=what,
        state=state,
        cancelled=False,
        cancelable=False,
        queueTime=vcenter.clock.now(),
        eventChainId=1,
        reason=vim.TaskReasonSystem(),
    )
    vcenter.objects[key] = move = Task(vcenter, key, info)
    web.machine.recent_tasks = [*web.machine.recent_tasks, move]
    web.machine.touch()
    return move


def test_reading_waits_for_a_move_to_end_and_is_given_up_where_one_begins(
    vcenter: Vcenter, there: Ways, web: SimMachine
) -> None:
    clock, moves, asked = FakeClock(), [], []

    def check() -> None:
        asked.append(len(moves))
        if asked.count(1) > 2:
            moves[0].info.state = "success"
            moves[0].touch()

    with holding(there, id_of(vcenter, web), purpose(clock=clock, check=check)) as held:
        moves.append(begin_move(vcenter, web, "task-1", "Drm.ExecuteVMotionLRO"))
        [first, second] = held.sources({})
        assert asked.count(1) == 3
        assert read(first) == web.disk_bytes(0)
        begin_move(vcenter, web, "task-2", "Drm.ExecuteStorageVmotionLro")
        clock.seconds += 31
        with pytest.raises(MachineMoved, match="ExecuteStorageVmotionLro"):
            read(second)


def test_a_move_without_end_is_not_waited_for(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    with holding(there, id_of(vcenter, web), purpose()) as held:
        begin_move(vcenter, web, "task-1", "VirtualMachine.migrate", "queued")
        with pytest.raises(MachineMoved, match="20 minutes"):
            held.sources({})
    assert web.snapshots == []


@pytest.mark.parametrize(
    ("version", "build", "source"),
    [
        ("6.0.0", "3073146", "KB 2136854"),
        ("6.0.0", "3247720", None),
        ("5.5.0", "2403361", None),  # its bug is one of larger disks
        ("8.0.2", "22380479", None),
    ],
)
def test_a_build_whose_tracking_is_known_to_be_wrong_is_not_asked(
    vcenter: Vcenter, there: Ways, web: SimMachine, version: str, build: str, source: str | None
) -> None:
    with holding(there, id_of(vcenter, web), purpose()) as held:
        parents = parents_of(held.sources({}))
    set_build(vcenter, version, build)
    heard = Heard()
    with holding(there, id_of(vcenter, web), purpose(heard, fence=2)) as held:
        sources = held.sources(parents)
        assert [each.changes is None for each in sources] == [source is not None] * 2
        assert [each.change_id is None for each in sources] == [source is not None] * 2
    assert [source in warning for warning in heard.warnings] == [True] * (source is not None)  # type: ignore[operator]
    set_build(vcenter, "8.0.2", "22380479")
    with holding(there, id_of(vcenter, web), purpose(fence=3)) as held:
        assert [each.changes is None for each in held.sources(parents_of(sources))] == [source is not None] * 2


def test_large_disks_are_read_whole_on_builds_that_forget_changes_behind_128_gib() -> None:
    old = vim.AboutInfo(version="5.5.0", build="1746018")
    assert bug_of(old, 128 << 30) is None
    found = bug_of(old, (128 << 30) + 1)
    assert found is not None
    assert "2090639" in found.source
    assert bug_of(None, 1 << 40) is None


def test_too_little_space_begins_nothing(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    vcenter.datastore.free_bytes = (20 << 30) - 1
    with pytest.raises(DatastoreFull, match="datastore1"), holding(there, id_of(vcenter, web), purpose()):
        pass
    assert web.snapshots == []


def test_an_old_snapshot_is_given_up(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    clock = FakeClock()
    why = purpose(clock=clock, wish=Wish(snapshot_minutes=60))
    with holding(there, id_of(vcenter, web), why) as held:
        source = held.sources({})[0]
        clock.seconds = 3601
        with pytest.raises(SnapshotTooOld, match="60 minutes"):
            read(source)
    assert web.snapshots == []


def test_disks_are_left_out_by_name_or_mode_and_told(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    heard = Heard()
    wish = Wish(excluded=frozenset({"Hard disk 2"}))
    with holding(there, id_of(vcenter, web), purpose(heard, wish=wish)) as held:
        assert [disk.size for disk in held.disks] == [8 * MIB]
    assert held.report()["not_protected"][0]["reason"] == "the plan leaves it out"
    assert heard.warnings == ["Hard disk 2 is not protected: the plan leaves it out"]
    wish = Wish(excluded=frozenset({"Hard disk 1", "Hard disk 2"}))
    with (
        pytest.raises(MachineUnfit, match="none of its 2 disks"),
        holding(there, id_of(vcenter, web), purpose(wish=wish)),
    ):
        pass
    assert web.snapshots == []


def test_a_powered_off_machine_needs_no_quiescing(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    web.power_off()
    heard = Heard()
    with holding(there, id_of(vcenter, web), purpose(heard)) as held:
        assert read(held.sources({})[1]) == web.disk_bytes(1)
    assert held.report()["snapshot"]["quiesced"] == "off"
    assert heard.warnings == []


def test_a_machine_that_is_gone_is_named(vcenter: Vcenter, there: Ways) -> None:
    gone = f"{vcenter.instance_uuid}:00000000-0000-0000-0000-000000000000"
    with pytest.raises(MachineMissing, match="found none"), holding(there, gone, purpose()):
        pass


def test_distrust_begins_tracking_anew(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    before = web.disk(0).tracking.id
    with holding(there, id_of(vcenter, web), purpose()) as held:
        sources = held.sources({})
        held.distrust(sources[0].key)
    assert web.disk(0).tracking.id != before
    assert web.disk(0).tracking.is_active
    assert web.snapshots == []
