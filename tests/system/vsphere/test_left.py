"""What an agent that died left at a machine goes by a clean job, and not under anybody who may still read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proto import agents_pb2
from proto.agent.work import Work
from tests.mediaagent.served import VSA
from tests.sim.vcenter.sim_machine import SimMachine
from tests.system.vsphere.office import GO_ON, MIB, Office, office
from tests.vsa.hypervisors.purposes import SITE
from vsa.backup.job import Means
from vsa.cleaning import clean
from vsa.discovery import encode
from vsa.hypervisors.vcenter.marks import Mark


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


def hypervisor_of(there: Office) -> agents_pb2.Hypervisor:
    settings = {
        "address": there.vcenter.address,
        "user": there.vcenter.user,
        "authority": there.vcenter.certificate.read_text(),
    }
    return agents_pb2.Hypervisor(
        id="vc", name="vc", kind="vcenter", settings=json.dumps(settings), sealed_secret=b"sealed"
    )


def left_at(there: Office) -> list[tuple[str, int]]:
    """What the next discovery tells of the one machine."""
    (seen,) = there.known.open(hypervisor_of(there)).discover()
    return [(each.job, each.fence) for each in encode(seen, SITE).leftovers.snapshots]


def cleaned(there: Office, machine: SimMachine) -> tuple[dict[str, object], list[str]]:
    """What a clean job of it says, and its warnings."""
    identity = f"{there.vcenter.instance_uuid}:{machine.instance_uuid}"
    assignment = agents_pb2.Assignment(
        id="c",
        job="cleaning",
        fence=1,
        lease_seconds=600,
        clean=agents_pb2.Clean(
            hypervisor=hypervisor_of(there), machine=agents_pb2.Machine(id=identity, name=machine.name), site=SITE
        ),
    )
    work = Work(assignment, there.clock, lambda *_: GO_ON)
    means = Means(there.served.authority.agent(VSA.role, VSA.id), there.clock, 2, there.ended, there.known)
    return clean(work, means), work.warnings


def test_what_a_dead_agent_left_goes_without_another_backup_and_counts_on(there: Office) -> None:
    web = there.vcenter.add_machine("web", [8 * MIB], change_tracking=True)
    web.guest_write(0, 0, b"before")
    there.back_up(web)
    web.take_snapshot("ingot backup", str(Mark(SITE, "died", 4)))  # and then its agent was no more
    web.guest_write(0, 5 * MIB, b"since")
    assert left_at(there) == [("died", 4)]

    there.ended = lambda _job, _fence: False
    told, warnings = cleaned(there, web)
    assert (told["snapshots_removed"], len(warnings), len(web.snapshots)) == (0, 1, 1)

    there.ended = lambda job, fence: (job, fence) == ("died", 4)
    told, warnings = cleaned(there, web)
    assert (told, warnings) == ({"snapshots_removed": 1, "consolidated": False, "half_made_removed": False}, [])
    assert web.snapshots == []
    assert left_at(there) == []

    [disk] = there.back_up(web).result["disks"]
    assert disk["read"] == "incremental"
    there.assert_all_restore()
