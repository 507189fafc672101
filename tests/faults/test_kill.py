"""kill -9 of a real process, with a real index, before and after every call of the store."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from media.extents import Extent
from media.faults import RepositoryMissing
from media.key_slots import list_slots
from media.pool import Parameters
from media.recovery_point import list_points
from tests.faults.scenario import (
    OPEN,
    SEALED,
    assert_points,
    back_up_image,
    changed_disk,
    first_disk,
    make_repo,
    open_repo_at,
    restored,
    temporaries,
)
from tests.faults.unsynced_posix import unsynced
from tests.faults.writer_process import Job, context, ended, run_backup, run_init
from vsa.disks.changed_extents import ChangedExtents

DISKS = [first_disk(2)]
CHANGES: list[list[Extent]] = [[]]
for seed in (2, 3):
    disk, changes = changed_disk(DISKS[-1], seed)
    DISKS.append(disk)
    CHANGES.append(changes)


class Yesterday:
    """A repository with one point, its index, and the image that the next backup reads."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.root = directory / "repository"
        self.index = directory / "index"
        self.image = directory / "disk.raw"
        repo = make_repo(unsynced(self.root), OPEN)
        self.point = back_up_image(repo, self.image, DISKS[0], self.index)
        self.image.write_bytes(DISKS[1])
        self.job = Job(self.root, self.index, self.image, OPEN)

    def changed(self) -> ChangedExtents:
        return ChangedExtents(self.point.id, 0, len(DISKS[1]), CHANGES[1])

    def assert_goes_on(self, changes: tuple[str, list[Extent]] | None = None) -> None:
        """The point of yesterday is whole, that of the killed process whole or not there; the next backup works."""
        repo = open_repo_at(unsynced(self.root))
        assert_points(repo.pool, {1: DISKS[0]}, {2: DISKS[1]})
        point = back_up_image(repo, self.image, DISKS[2], self.index)
        assert not repo.notes, repo.notes
        assert restored(repo.pool, list_points(repo.pool).find(point.id)) == DISKS[2]
        assert not temporaries(self.root)


def kill_at_every(yesterday: Path, layer: str, step: int, **job: object) -> None:
    """One process a call, until one lives to its end."""
    processes = context()
    for n in range(1, 10_000, step):
        site = Yesterday(yesterday / f"{layer}-{n}")
        changed = site.changed() if job.get("changed") else None
        process = processes.Process(
            target=run_backup,
            args=(site.job._replace(layer=layer, at=n, after=n // step % 2 == 1, changed=changed),),
        )
        process.start()
        code = ended(process)
        site.assert_goes_on()
        if code == 0:
            assert n > 10 // step
            return
        assert code == -signal.SIGKILL


def test_a_process_killed_at_any_call_of_the_file_system_harms_nothing(tmp_path: Path) -> None:
    kill_at_every(tmp_path, "posix", 1)


def test_nor_at_any_call_of_the_repository(tmp_path: Path) -> None:
    kill_at_every(tmp_path, "repository", 1)


def test_nor_during_a_backup_of_changed_extents(tmp_path: Path) -> None:
    kill_at_every(tmp_path, "posix", 3, changed=True)


@pytest.mark.parametrize("parameters", [OPEN, SEALED], ids=["open", "sealed"])
def test_an_init_killed_at_any_call_leaves_a_repository_or_a_place_for_the_next_one(
    tmp_path: Path, parameters: Parameters
) -> None:
    processes = context()
    for n in range(1, 1000, 1 if parameters == OPEN else 4):
        root = tmp_path / f"{n}"
        process = processes.Process(target=run_init, args=(root, parameters, n, n // 2 % 2 == 1))
        process.start()
        code = ended(process)
        place = unsynced(root)
        try:
            repo = open_repo_at(place, parameters)
        except RepositoryMissing:
            repo = make_repo(place, parameters)
            open_repo_at(place, parameters)
        point = back_up_image(repo, tmp_path / "disk.raw", DISKS[0], tmp_path / f"{n}-index")
        assert_points(repo.pool, {point.sid: DISKS[0]})
        assert 1 <= len(list_slots(place)) <= 2
        assert not temporaries(root)
        if code == 0:
            assert n > 20
            return
        assert code == -signal.SIGKILL
