"""kill -9 of every daemon while a vCenter's machines are backed up: each point is what its snapshot was.

Rounds: something happens to the machines, as it does to machines; then all are backed up at once while each daemon is
killed in one phase of one of these backups.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.kept import disks_of, points_of, pool_of
from tests.system.services.site import ENDS, Site
from tests.system.vsphere.ambush import METHODS, Ambush, Hunter, Witness
from tests.system.vsphere.happenings import expire_sessions, move_host, move_storage, revert
from tests.system.vsphere.office import MIB, scribble
from tests.system.vsphere.whole import id_of, opened, protect

Blow = tuple[str, str, SimMachine]
GOOD = ("DONE", "DONE_WITH_WARNINGS")
SERVICES = ("commserve", "mediaagent", "vsa")


@dataclass
class Siege:
    """A site whose daemons are killed."""

    running: Site
    vcenter: Vcenter
    machines: list[SimMachine]
    hunter: Hunter
    ambush: Ambush
    witness: Witness
    random: random.Random
    ended: list[dict[str, Any]] = field(default_factory=list)
    missed: int = 0  # blows for which no call came

    def round(self, *blows: Blow) -> None:
        """A backup of each machine, good at the end; blows (service, phase, machine) fall while they run."""
        for machine in self.machines:
            scribble(self.random, machine, 6)
        for service, phase, machine in blows:
            self.ambush.lay(phase, machine, self.hunter.blow(service, phase, machine))
        self.hunter.job_by_machine.clear()
        for machine in self.machines:
            job = self.running.begun(id_of(self.vcenter, machine))
            self.hunter.job_by_machine[machine.name] = job
        for job in list(self.hunter.job_by_machine.values()):
            ended = self.running.ended(job)
            assert ended["state"] in GOOD, (ended, self.hunter.hits)
            self.ended.append(ended)
        self.hunter.wait()
        self.missed += self.ambush.lift()
        self.running.wait("the CommServe", self.running.answers)

    def check(self) -> None:
        """Nothing lies about, and every point of the repository, whoever made it, is what its snapshot was."""
        self.hunter.job_by_machine.clear()
        for machine in self.machines:
            ended = self.running.backed_up(id_of(self.vcenter, machine))
            assert ended["state"] in GOOD, ended
            self.ended.append(ended)
        assert [machine.snapshots for machine in self.machines] == [[]] * len(self.machines)
        assert not any(machine.machine.consolidation_needed for machine in self.machines)
        assert self.ambush.removed_under == [], "no snapshot was removed while somebody read it"
        lasting = {job["kind"] for job in self.running.rest.all("/jobs") if job["state"] not in ENDS}
        assert lasting <= {"watch"}
        pool = pool_of(self.running.services.state)
        points = [point for point, _ in points_of(pool)]
        assert sorted(points) == sorted(job["result"]["recovery_point"] for job in self.ended)
        for point in points:
            for disk in disks_of(pool, point):
                assert disk.digest == self.witness.digest(disk), (point, disk.key)


@contextmanager
def siege(directory: Path, seed: int) -> Iterator[Siege]:
    with opened(directory) as (running, vcenter):
        chance = random.Random(seed)
        machines = [
            vcenter.add_machine("web", [16 * MIB, 6 * MIB + 512], change_tracking=True),
            vcenter.add_machine("db", [12 * MIB], change_tracking=True),
        ]
        for machine in machines:
            machine.guest_write(0, 0, chance.randbytes(10 * MIB))
        ambush = Ambush(vcenter)
        hunter = Hunter(running, vcenter, ambush, chance)
        made = Siege(running, vcenter, machines, hunter, ambush, Witness(vcenter), chance)
        protect(running, vcenter)
        for machine in machines:
            made.ended.append(running.backed_up(id_of(vcenter, machine)))
        yield made


def test_daemons_are_killed_in_every_phase_and_every_point_is_its_snapshot(tmp_path: Path) -> None:
    with siege(tmp_path, seed=1) as fight:
        web, db = fight.machines

        move_storage(fight.vcenter, db)
        fight.ambush.lay("reading", web, lambda: scribble(fight.random, web, 5))
        fight.round(("vsa", "reading", web), ("commserve", "snapshot", db), ("mediaagent", "areas", web))

        revert(web)
        fight.ambush.lay("areas", db, lambda: expire_sessions(fight.vcenter))
        fight.round(("mediaagent", "committing", web), ("commserve", "reading", db))

        db.power_loss()
        fight.ambush.lay("reading", web, lambda: move_host(fight.vcenter, web))
        fight.round(("commserve", "committing", web), ("vsa", "committing", db), ("mediaagent", "reading", web))

        fight.check()
        assert fight.missed == 0, "every phase came"
        assert [hit for hit in fight.hunter.hits if not hit.in_phase] == []
        assert Counter(hit.service for hit in fight.hunter.hits) == {"commserve": 3, "mediaagent": 3, "vsa": 2}


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_daemons_are_killed_again_and_again(tmp_path: Path) -> None:
    seed = int(os.environ.get("INGOT_SEED", "1"))
    with siege(tmp_path, seed) as fight:
        web, db = fight.machines
        happenings: list[Callable[[], None]] = [
            lambda: move_storage(fight.vcenter, web),
            lambda: move_host(fight.vcenter, db),
            lambda: revert(web),
            lambda: revert(db),
            lambda: expire_sessions(fight.vcenter),
            db.power_loss,
            web.reset_tracking,
            lambda: web.resize(1, web.disk(1).size + MIB),
        ]
        for number in range(12):
            happenings[number % len(happenings)]()
            places = fight.random.sample(
                [(phase, machine) for phase in METHODS for machine in (web, db)], len(SERVICES)
            )
            fight.round(*((service, *place) for service, place in zip(SERVICES, places, strict=True)))
        fight.check()
        hits = fight.hunter.hits
        print(*hits, *Counter((hit.service, hit.phase, hit.in_phase) for hit in hits).items(), sep="\n")
        # A disk that is read whole is asked for no areas, and a phase may be over when a blow falls late.
        assert len(hits) + fight.missed == 36
        assert sum(hit.in_phase for hit in hits) >= 27
        assert all(sum(hit.in_phase and hit.service == each for hit in hits) >= 6 for each in SERVICES)
