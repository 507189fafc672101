"""kill -9 of every daemon at random moments: nothing committed is lost, no job is left lying, every point restores.

Rounds: all machines are backed up at once, and meanwhile daemons are killed. How long a round takes is how long it
takes to come back from a kill, not how many backups it hits.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from ingot.faults import CommServeSilent
from tests.system.services.site import ENDS, Site, change_image, site

GOOD = ("DONE", "DONE_WITH_WARNINGS")
SERVICES = ("commserve", "mediaagent", "vsa")
MEGABYTES = 16
SPREAD_SECONDS = 1.5  # kills fall into so long after a round began


class Fire:
    """Backups of all machines of a site, round by round, and what they made."""

    def __init__(self, lab: Site, seed: int) -> None:
        self.lab = lab
        self.seed = seed
        self.random = random.Random(seed)
        self.disks = sorted(lab.images.glob("*/disk-0.raw"))
        self.moments: dict[str, tuple[str, bytes]] = {}  # point -> its machine, and what was on its disk
        self.kills = 0

    def round(self, services: tuple[str, ...]) -> None:
        """A backup of every machine; each of the services is killed once, at a random moment."""
        timers = [threading.Timer(self.random.uniform(0.0, SPREAD_SECONDS), self.kill, [name]) for name in services]
        jobs = [self.begun(disk.parent.name) for disk in self.disks]
        for timer in timers:
            timer.start()
        for disk, job in zip(self.disks, jobs, strict=True):
            ended = self.lab.ended(job)
            assert ended["state"] in (*GOOD, "FAILED"), (self.seed, ended)
            if ended["state"] in GOOD:
                self.moments[ended["result"]["recovery_point"]] = (disk.parent.name, disk.read_bytes())
        for timer in timers:
            timer.join()
        for disk in self.disks:
            change_image(disk, self.random)

    def kill(self, service: str) -> None:
        self.lab.kill(service)
        self.kills += 1

    def begun(self, machine: str) -> dict[str, Any]:
        """A job, also while the CommServe is being started again."""

        def ask() -> dict[str, Any] | None:
            try:
                job: dict[str, Any] = self.lab.rest.post(f"/machines/{machine}/backup")
            except CommServeSilent:
                return None
            return job

        job: dict[str, Any] = self.lab.wait("the CommServe", ask)
        return job

    def check(self) -> None:
        """No job lies about; every point that was promised is there and restores byte for byte."""
        self.lab.wait("the CommServe", self.lab.answers)
        assert [job["state"] for job in self.lab.rest.all("/jobs") if job["state"] not in ENDS] == []
        for point, (machine, before) in self.moments.items():
            job = self.lab.restored(point, point)
            assert job["state"] == "DONE", (self.seed, job)
            assert (self.lab.landing / point / "disk-0.raw").read_bytes() == before, (self.seed, machine, point)


def test_thirty_backups_survive_kills_of_all_daemons(tmp_path: Path) -> None:
    with site(tmp_path, *[MEGABYTES] * 10) as lab:
        lab.protect()
        fire = Fire(lab, seed=1)
        for _ in range(3):
            fire.round(SERVICES)
        fire.check()
    assert len(fire.moments) >= 15, fire.seed
    assert fire.kills == 9


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_thirty_backups_one_after_the_other_survive_kills(tmp_path: Path) -> None:
    with site(tmp_path, 24) as lab:
        lab.protect()
        fire = Fire(lab, seed=int(os.environ.get("INGOT_SEED", "1")))
        for number in range(30):
            fire.round((SERVICES[number % len(SERVICES)],))
        fire.check()
    assert len(fire.moments) >= 15, fire.seed
    assert fire.kills == 30
