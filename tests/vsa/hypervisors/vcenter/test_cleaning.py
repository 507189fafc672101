"""What dead work left at a machine, found by a discovery and removed by a clean job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.vsa.hypervisors.purposes import SITE, Heard, purpose
from tests.vsa.hypervisors.vcenter.site import MIB, ways
from tests.vsa.hypervisors.vcenter.test_holding import id_of
from vsa.discovery import encode
from vsa.faults import HypervisorBusy, MachineUnfit
from vsa.hypervisors import MachineSeen
from vsa.hypervisors.vcenter.cleaning import Cleaned, clean
from vsa.hypervisors.vcenter.holding import Ways, holding
from vsa.hypervisors.vcenter.inventory import Surroundings, machines_of
from vsa.hypervisors.vcenter.marks import Mark
from vsa.hypervisors.vcenter.specification import MARK

DEAD, GOES_ON = Mark(SITE, "dead", 1), Mark(SITE, "goes on", 7)


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
    return vcenter.add_machine("web", [4 * MIB], change_tracking=True)


def seen(there: Ways) -> MachineSeen:
    (found,) = machines_of(there.connection, Surroundings(there.connection, tags={}))
    return found


def cleaned(there: Ways, web: SimMachine, heard: Heard | None = None, half_made_by: str = "", **more: Any) -> Cleaned:
    def ended(job: str, _fence: int) -> bool:
        return job == "dead"

    why = purpose(heard, job="clean", ended=ended, **more)
    return clean(there.connection, there.limits, id_of(web.machine.vcenter, web), why, half_made_by)


def test_a_discovery_tells_which_leases_of_this_site_have_snapshots(there: Ways, web: SimMachine) -> None:
    web.take_snapshot("ingot backup", str(DEAD))
    web.take_snapshot("ingot backup", str(Mark("another site", "theirs", 1)))
    web.take_snapshot("before the update")
    told = encode(seen(there), SITE).leftovers
    assert [(each.job, each.fence) for each in told.snapshots] == [("dead", 1)]
    assert (told.consolidation_needed, told.restoring) == (False, "")
    assert told.snapshots[0].taken_at.endswith("Z")


def test_a_discovery_tells_where_a_machine_runs_and_lies(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    assert (seen(there).host, seen(there).datastores) == (web.machine.host.name, ("datastore1",))
    assert vcenter.datastore.name == "datastore1"


def test_what_a_dead_lease_left_goes_and_a_users_snapshot_stays(there: Ways, web: SimMachine) -> None:
    users = web.take_snapshot("before the update")
    web.guest_write(0, 0, b"since")
    web.take_snapshot("ingot backup", str(DEAD))
    foreign = web.take_snapshot("ingot backup", str(Mark("another site", "dead", 1)))
    before = web.disk_bytes(0)
    assert cleaned(there, web) == Cleaned(snapshots_removed=1)
    assert web.snapshots == [users, foreign]
    assert web.disk_bytes(0) == before


def test_nothing_is_touched_beside_a_snapshot_of_a_lease_that_may_go_on(there: Ways, web: SimMachine) -> None:
    web.take_snapshot("ingot backup", str(DEAD))
    web.take_snapshot("ingot backup", str(GOES_ON))
    before, heard = web.snapshots, Heard()
    assert cleaned(there, web, heard) == Cleaned()
    assert web.snapshots == before
    assert "may go on" in heard.warnings[0]


def test_a_machine_that_this_agent_holds_is_left_alone(there: Ways, web: SimMachine) -> None:
    with holding(there, id_of(web.machine.vcenter, web), purpose()):
        with pytest.raises(HypervisorBusy, match="another job"):
            cleaned(there, web)
        assert len(web.snapshots) == 1
    assert web.snapshots == []


def test_layers_that_were_not_merged_are_consolidated(vcenter: Vcenter, there: Ways, web: SimMachine) -> None:
    with holding(there, id_of(vcenter, web), purpose()) as held:
        held.sources({})
        web.remove_snapshot(web.snapshots[0])  # while it is read: its layer stays
        vcenter.faults.plan("ConsolidateVMDisks_Task", vim.fault.FileLocked, where="task", times=4)
    assert seen(there).leftovers.consolidation_needed  # type: ignore[union-attr]
    assert cleaned(there, web) == Cleaned(consolidated=True)
    assert not seen(there).leftovers.consolidation_needed  # type: ignore[union-attr]


def test_a_half_made_machine_is_told_and_goes_only_by_the_job_that_made_it(there: Ways, web: SimMachine) -> None:
    web.power_off()
    web.machine.config.extraConfig.append(vim.option.OptionValue(key=MARK, value="made it"))
    web.machine.touch()
    found = seen(there)
    assert found.reason == "it is half-made by the restore of job made it"
    assert encode(found, SITE).leftovers.restoring == "made it"
    assert cleaned(there, web) == Cleaned()
    with pytest.raises(MachineUnfit, match="expected one half-made by job another"):
        cleaned(there, web, half_made_by="another")
    assert cleaned(there, web, half_made_by="made it") == Cleaned(unmade=True)
    assert list(machines_of(there.connection, Surroundings(there.connection, tags={}))) == []
