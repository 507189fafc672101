"""kill -9 of every daemon in the midst of backups: nothing committed is lost, no job lies about, every point restores.

Rounds: all machines are backed up at once, and daemons are killed, one soon after the other, while they are
begun. What the CommServe kept of leases shows afterwards whether a kill fell while one was leased.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingot.faults import CommServeSilent
from runtime.clock import SystemClock
from tests.system.kept import disks_of, points_of, pool_of
from tests.system.services.site import ENDS, Site, change_image, site

GOOD = ("DONE", "DONE_WITH_WARNINGS")
SERVICES = ("commserve", "mediaagent", "vsa")
MEGABYTES = 16
SPREAD_SECONDS = (0.0, 0.2)  # from seeing that somebody works to the kill
WORK_SECONDS = 10.0  # work is waited for so long: all may be done
_WORKED_ON = ("ASSIGNED", "RUNNING", "COMMITTING")


@dataclass(frozen=True)
class Kill:
    service: str
    at: datetime


class Fire:
    """Backups of all machines of a site, round by round, and what they made."""

    def __init__(self, lab: Site, seed: int) -> None:
        self.lab = lab
        self.seed = seed
        self.random = random.Random(seed)
        self.disks = sorted(lab.images.glob("*/disk-0.raw"))
        self.ended: list[dict[str, Any]] = []
        self.kills: list[Kill] = []
        self.checked: set[str] = set()  # points

    def round(self, services: tuple[str, ...]) -> None:
        """A backup of every machine, good at the end; each of the services is killed while somebody works on one."""
        killing = threading.Thread(target=self._kill, args=(self.random.sample(services, len(services)),))
        jobs = []
        for disk in self.disks:
            jobs.append(self.lab.begun(disk.parent.name))
            if len(jobs) == 1:
                killing.start()
        killing.join()
        for job in jobs:
            ended = self.lab.ended(job)
            assert ended["state"] in GOOD, (self.seed, self.kills, ended, self._leases(job))
            self.ended.append(ended)
        self._check_points()
        for disk in self.disks:
            change_image(disk, self.random)

    def _kill(self, services: list[str]) -> None:
        for service in services:
            self._wait_for_work()
            threading.Event().wait(self.random.uniform(*SPREAD_SECONDS))
            self.kills.append(Kill(service, datetime.now(UTC)))
            self.lab.kill(service)

    def _wait_for_work(self) -> None:
        clock, pause = SystemClock(), threading.Event()
        over = clock.monotonic_seconds() + WORK_SECONDS
        while clock.monotonic_seconds() < over and not self._somebody_works():
            pause.wait(0.02)

    def _somebody_works(self) -> bool:
        try:
            jobs = self.lab.rest.get("/jobs", kind="backup", state="active")["items"]
        except CommServeSilent:
            return False
        return any(job["state"] in _WORKED_ON for job in jobs)

    def _leases(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.lab.rest.get(f"/jobs/{job['id']}/leases")["items"]
        return found

    def _check_points(self) -> None:
        """Those made since the last look, by whatever attempt: what the disk of their machine holds, which is off."""
        pool = pool_of(self.lab.services.state)
        for point, machine in points_of(pool):
            if point not in self.checked:
                [kept] = disks_of(pool, point)
                image = self.lab.images / machine / "disk-0.raw"
                assert kept.digest == hashlib.sha256(image.read_bytes()).hexdigest(), (self.seed, machine, point)
                self.checked.add(point)

    def check(self) -> None:
        """No job lies about; each point is that of one job, and nothing that was promised is missing."""
        self.lab.wait("the CommServe", self.lab.answers)
        assert [job["state"] for job in self.lab.rest.all("/jobs") if job["state"] not in ENDS] == []
        assert sorted(self.checked) == sorted(job["result"]["recovery_point"] for job in self.ended)
        newest = self.ended[-1]["result"]["recovery_point"]
        job = self.lab.restored(newest, newest)
        assert job["state"] == "DONE", (self.seed, job)
        [kept] = disks_of(pool_of(self.lab.services.state), newest)
        restored = (self.lab.landing / newest / "disk-0.raw").read_bytes()
        assert hashlib.sha256(restored).hexdigest() == kept.digest

    def hits(self) -> Counter[str]:
        """How many kills of each service fell while a backup was leased, and how many leases did not end well."""
        leases = [lease for job in self.ended for lease in self._leases(job)]
        spans = [(moment(lease["leased_at"]), moment(lease["ended_at"])) for lease in leases]
        hits = Counter(kill.service for kill in self.kills if any(a < kill.at < b for a, b in spans))
        lost = Counter(lease["fault_code"] for lease in leases if lease["outcome"] not in GOOD)
        print(self.seed, hits, lost, Counter(job["attempts"] for job in self.ended))
        return hits


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_thirty_backups_survive_kills_of_all_daemons(tmp_path: Path) -> None:
    with site(tmp_path, *[MEGABYTES] * 10) as lab:
        lab.protect()
        fire = Fire(lab, seed=1)
        for _ in range(3):
            fire.round(SERVICES)
        fire.check()
        hits = fire.hits()
    assert len(fire.ended) == 30
    assert hits.total() >= 4, "small disks: a kill may find all of a round's backups done"
    assert set(hits) == set(SERVICES)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_thirty_backups_one_after_the_other_survive_kills(tmp_path: Path) -> None:
    with site(tmp_path, 24) as lab:
        lab.protect()
        fire = Fire(lab, seed=int(os.environ.get("INGOT_SEED", "1")))
        for number in range(30):
            fire.round((SERVICES[number % len(SERVICES)],))
        fire.check()
        hits = fire.hits()
    assert sum(hits.values()) >= 20, "a backup of one small disk may be over before the kill falls"
    assert set(hits) == set(SERVICES)
