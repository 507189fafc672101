"""Several processes write one repository at once: with one index, with one each, and with one of them killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from media.key_slots import list_slots
from media.pool import Parameters
from media.repository.local import LocalRepository
from tests.faults.scenario import (
    OPEN,
    SEALED,
    SEGMENT,
    assert_points,
    back_up_image,
    first_disk,
    make_repo,
    open_repo_at,
    temporaries,
)
from tests.faults.unsynced_posix import unsynced
from tests.faults.writer_process import LOST, Job, context, ended, run_backup, run_init

SHARED = first_disk(4, seed=1)
DISKS = [first_disk(2, seed=10 + n) + SHARED[: (4 - n) * SEGMENT] for n in range(4)]


def run_together(jobs: list[Job]) -> list[int]:
    """The exit codes of processes that begin to back up at the same moment."""
    processes = context()
    barrier = processes.Barrier(len(jobs))
    running = [processes.Process(target=run_backup, args=(job, barrier)) for job in jobs]
    for process in running:
        process.start()
    return [ended(process) for process in running]


def jobs_in(directory: Path, parameters: Parameters, indexes: int, count: int = 4) -> list[Job]:
    """One a machine, with an image of its own; indexes are shared by as many as need be."""
    jobs = []
    for n in range(count):
        image = directory / f"vm-{n}.raw"
        image.write_bytes(DISKS[n])
        index = directory / f"index-{n % indexes}"
        jobs.append(Job(directory / "repository", index, image, parameters, machine=f"vm-{n}", workers=2))
    return jobs


def told_by(job: Job) -> tuple[int, list[str]]:
    """The session of a process that came to its end, and its notes."""
    told = json.loads(job.image.with_suffix(".told").read_text())
    return int(told["point"], 16), told["notes"]


@pytest.mark.parametrize("parameters", [OPEN, SEALED], ids=["open", "sealed"])
@pytest.mark.parametrize("indexes", [1, 4], ids=["one index", "an index each"])
def test_four_writers_at_once_each_make_a_whole_point(tmp_path: Path, parameters: Parameters, indexes: int) -> None:
    make_repo(unsynced(tmp_path / "repository"), parameters)
    jobs = jobs_in(tmp_path, parameters, indexes)
    assert run_together(jobs) == [0, 0, 0, 0]
    disk_by_sid = {}
    for job, disk in zip(jobs, DISKS, strict=True):
        sid, notes = told_by(job)
        assert not notes
        disk_by_sid[sid] = disk
    assert sorted(disk_by_sid) == [1, 2, 3, 4]
    repo = open_repo_at(unsynced(tmp_path / "repository"), parameters)
    assert_points(repo.pool, disk_by_sid)

    again = back_up_image(repo, tmp_path / "copy.raw", DISKS[2], jobs[0].index, machine="copy")
    assert again.statistics["new_bytes"] == 0


@pytest.mark.parametrize("at", [9, 15, 23, 41])
def test_one_of_four_killed_in_the_middle_harms_nobody(tmp_path: Path, at: int) -> None:
    make_repo(unsynced(tmp_path / "repository"))
    jobs = jobs_in(tmp_path, OPEN, 1)
    jobs[1] = jobs[1]._replace(at=at, after=True)
    assert run_together(jobs) == [0, -signal.SIGKILL, 0, 0]
    disk_by_sid = {told_by(job)[0]: disk for job, disk in zip(jobs, DISKS, strict=True) if job != jobs[1]}
    repo = open_repo_at(unsynced(tmp_path / "repository"))
    assert_points(repo.pool, disk_by_sid)
    point = back_up_image(repo, jobs[1].image, DISKS[1], jobs[1].index, machine="vm-1")
    assert not repo.notes
    assert_points(repo.pool, {**disk_by_sid, point.sid: DISKS[1]})
    assert not temporaries(tmp_path / "repository")


@pytest.mark.parametrize("parameters", [OPEN, SEALED], ids=["open", "sealed"])
def test_of_two_inits_at_once_one_wins_and_the_other_leaves_nothing(tmp_path: Path, parameters: Parameters) -> None:
    processes = context()
    for attempt in range(5):
        root = tmp_path / f"{attempt}"
        barrier = processes.Barrier(2)
        running = [processes.Process(target=run_init, args=(root, parameters, 0, False, barrier)) for _ in range(2)]
        for process in running:
            process.start()
        assert sorted(ended(process) for process in running) == [0, LOST]
        assert len(list_slots(LocalRepository(root))) == 1
        repo = open_repo_at(unsynced(root), parameters)
        back_up_image(repo, tmp_path / "disk.raw", SHARED, tmp_path / f"{attempt}-index")
        assert_points(repo.pool, {1: SHARED})


@pytest.mark.torture
@pytest.mark.parametrize("round_", range(20))
def test_writers_at_once_and_one_killed_anywhere(tmp_path: Path, round_: int) -> None:
    make_repo(unsynced(tmp_path / "repository"), SEALED)
    jobs = jobs_in(tmp_path, SEALED, 1 + round_ % 2)
    jobs[0] = jobs[0]._replace(at=5 + 3 * round_, after=round_ % 2 == 1)
    codes = run_together(jobs)
    assert codes[0] in (0, -signal.SIGKILL)
    assert codes[1:] == [0, 0, 0]
    disk_by_sid = {told_by(job)[0]: disk for job, disk in zip(jobs[1:], DISKS[1:], strict=True)}
    (other,) = {1, 2, 3, 4} - disk_by_sid.keys() or {5}
    assert_points(open_repo_at(unsynced(tmp_path / "repository"), SEALED).pool, disk_by_sid, {other: DISKS[0]})
