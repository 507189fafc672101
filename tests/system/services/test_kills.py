"""kill -9 of every daemon at random moments: nothing committed is lost, no job is left lying, every point restores."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from ingot.faults import CommServeSilent
from tests.system.services.site import ENDS, Site, change_image, site

SERVICES = ("commserve", "mediaagent", "vsa")


def backups_under_fire(directory: Path, count: int, seed: int) -> None:
    """`count` backups of one machine, a daemon killed at a random moment of each."""
    chance = random.Random(seed)
    with site(directory, 24) as lab:
        lab.protect()
        disk, moments = lab.images / "web0/disk-0.raw", {}
        for number in range(count):
            service = SERVICES[number % len(SERVICES)]
            timer = threading.Timer(chance.uniform(0.0, 1.5), lab.kill, [service])
            job = begun(lab)
            timer.start()
            ended = lab.ended(job)
            timer.join()
            assert ended["state"] in ("DONE", "DONE_WITH_WARNINGS", "FAILED"), (seed, number, ended)
            if ended["state"] != "FAILED":
                moments[ended["result"]["recovery_point"]] = disk.read_bytes()
            change_image(disk, chance)
        assert len(moments) >= count // 2, (seed, moments)
        assert [job["state"] for job in lab.rest.all("/jobs") if job["state"] not in ENDS] == []
        for point, before in moments.items():
            job = lab.restored(point, point)
            assert job["state"] == "DONE", (seed, job)
            assert (lab.landing / point / "disk-0.raw").read_bytes() == before, (seed, point)


def begun(lab: Site) -> dict[str, object]:
    """A job, also while the CommServe is being started again."""

    def ask() -> dict[str, object] | None:
        try:
            found: dict[str, object] = lab.rest.post("/machines/web0/backup")
        except CommServeSilent:
            return None
        return found

    found: dict[str, object] = lab.wait("the CommServe", ask)
    return found


def test_backups_survive_a_kill_of_each_daemon(tmp_path: Path) -> None:
    backups_under_fire(tmp_path, 3, seed=1)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_thirty_backups_survive_kills(tmp_path: Path) -> None:
    backups_under_fire(tmp_path, 30, seed=int(os.environ.get("INGOT_SEED", "1")))
