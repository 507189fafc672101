"""Power lost between any two calls of the file system, from init to a third backup."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ingot.embedded import Repo
from media.extents import Extent
from media.faults import RepositoryMissing
from media.pool import Parameters
from media.recovery_point import list_points
from media.repository.local import LocalRepository
from runtime.faults import Fault
from tests.faults.recording_posix import RecordingPosix, lost, replay, survived
from tests.faults.scenario import (
    OPEN,
    SEALED,
    assert_points,
    back_up_bytes,
    back_up_image,
    changed_disk,
    first_disk,
    make_repo,
    open_repo_at,
    restored,
    temporaries,
)
from tests.faults.unsynced_posix import unsynced
from tests.media.fakes import OnPut

Survival = Callable[[], bool]
LAST = changed_disk(first_disk(2), 99)[0]


class Life:
    """A repository and its disks, recorded; and how far the log was when the put of each object had returned."""

    def __init__(self, directory: Path, parameters: Parameters, index: Path | None = None) -> None:
        (directory / "real").mkdir(parents=True)
        self.parameters = parameters
        self.posix = RecordingPosix(directory / "real")
        self.durable_at: dict[str, int] = {}
        self.disks: dict[int, bytes] = {}
        self._image = directory / "disk.raw"
        self._index = index
        root = LocalRepository(directory / "real" / "repository", self.posix)
        place = OnPut(root, after=lambda name: self.durable_at.setdefault(name, len(self.posix.log)))
        repo = make_repo(place, parameters)
        disk = first_disk(2)
        self._back_up(repo, disk)
        disk, _ = changed_disk(disk, 2)
        self._back_up(repo, disk)
        disk, changes = changed_disk(disk, 3)
        self._back_up(repo, disk, changes)

    def _back_up(self, repo: Repo, disk: bytes, changes: list[Extent] | None = None) -> None:
        newest = list_points(repo.pool).newest_of("web")
        if self._index is None:
            point = back_up_bytes(repo, disk, newest, changes)
        else:
            since = None if changes is None or newest is None else (newest.id, changes)
            point = back_up_image(repo, self._image, disk, self._index, since)
        self.disks[point.sid] = disk

    def after(self, n: int, to: Path, survives: Survival) -> Path:
        """The repository as a crash after the first `n` calls leaves it."""
        to.mkdir()
        replay(self.posix.log, n, to, survives)
        return to / "repository"

    def had_returned(self, name: str, n: int) -> bool:
        return self.durable_at[name] <= n


def assert_goes_on(life: Life, n: int, root: Path, index: Path | None = None) -> None:
    """Whatever was committed is there and whole, and the next backup works."""
    try:
        repo = open_repo_at(unsynced(root), life.parameters)
    except RepositoryMissing:
        assert not life.had_returned("ingot.json", n)
        repo = make_repo(unsynced(root), life.parameters)
    must = {sid: disk for sid, disk in life.disks.items() if life.had_returned(f"rp/{sid:010x}", n)}
    assert_points(repo.pool, must, life.disks)
    if index is None:
        point = back_up_bytes(repo, LAST, list_points(repo.pool).newest_of("web"))
    else:
        point = back_up_image(repo, root.parent / "disk.raw", LAST, index)
    commit = list_points(repo.pool).commits[-1]
    assert commit.sid == point.sid
    assert restored(repo.pool, commit) == LAST
    assert not temporaries(root)


@pytest.fixture(scope="module", params=[OPEN, SEALED], ids=["open", "sealed"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(tmp_path_factory.mktemp("life"), request.param)


@pytest.fixture(scope="module")
def indexed_life(tmp_path_factory: pytest.TempPathFactory) -> tuple[Life, Path]:
    directory = tmp_path_factory.mktemp("indexed")
    return Life(directory, OPEN, directory / "index"), directory / "index"


def test_a_crash_after_any_call_loses_no_committed_point_and_the_next_backup_works(life: Life, tmp_path: Path) -> None:
    for n in range(len(life.posix.log) + 1):
        assert_goes_on(life, n, life.after(n, tmp_path / f"{n}", lost))


def coin(seed: int) -> Survival:
    toss = random.Random(seed)
    return lambda: toss.random() < 0.5


def test_nor_does_a_crash_that_keeps_part_of_what_was_not_synced(life: Life, tmp_path: Path) -> None:
    for n in range(len(life.posix.log) + 1):
        survives = survived if n % 3 == 0 else coin(n)
        assert_goes_on(life, n, life.after(n, tmp_path / f"{n}", survives))


def test_an_index_that_outlived_the_crash_knows_more_than_the_repository_and_harms_nothing(
    indexed_life: tuple[Life, Path], tmp_path: Path
) -> None:
    life, index = indexed_life
    for n in range(life.durable_at["ingot.json"], len(life.posix.log) + 1, 7):
        root = life.after(n, tmp_path / f"{n}", lost)
        shutil.copytree(index, tmp_path / f"{n}-index")
        assert_goes_on(life, n, root, tmp_path / f"{n}-index")


def test_after_a_crash_a_new_index_finds_what_was_stored(indexed_life: tuple[Life, Path], tmp_path: Path) -> None:
    life, _ = indexed_life
    for n in range(0, len(life.posix.log) + 1, 7):
        root = life.after(n, tmp_path / f"{n}", coin(n))
        assert_goes_on(life, n, root, tmp_path / f"{n}-index")


@pytest.mark.parametrize("call", ["fsync", "fsync_directory"])
def test_these_tests_notice_a_store_that_does_not_sync(life: Life, tmp_path: Path, call: str) -> None:
    """The test of these tests: drop a kind of sync from the log, and what was committed is not there."""
    log = [operation for operation in life.posix.log if operation.call != call]
    replay(log, len(log), tmp_path)
    with pytest.raises((AssertionError, Fault)):
        assert_goes_on(life, len(life.posix.log), tmp_path / "repository")


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_what_survives_any_crash_is_a_repository(life: Life, tmp_path: Path, seed: int) -> None:
    for n in range(len(life.posix.log) + 1):
        assert_goes_on(life, n, life.after(n, tmp_path / f"{n}", coin(seed * 1000 + n)))
