"""Every call of the repository fails, not done or with its reply lost, over whole backups and restores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ingot.embedded import Repo, restore
from media.container_reader import ContainerReader
from media.faults import (
    RepositoryDenied,
    RepositoryFault,
    RepositoryFull,
    RepositoryUnreachable,
    SessionUnknown,
)
from media.pool import Parameters, open_pool
from media.recovery_point import list_points, read_commit, read_point
from media.repository.memory import MemoryRepository
from runtime.faults import Fault
from tests.faults.failing_repository import FailingRepository
from tests.faults.scenario import (
    OPEN,
    SEALED,
    Quiet,
    assert_decided,
    back_up_image,
    changed_disk,
    first_disk,
    make_repo,
    open_repo_at,
    restored,
    secret_of,
)

ONCE = {
    "not done: unreachable": (RepositoryUnreachable, False),
    "not done: denied": (RepositoryDenied, False),
    "reply lost: unreachable": (RepositoryUnreachable, True),
    "reply lost: full": (RepositoryFull, True),
}
DISK = first_disk(2)
CHANGED, CHANGES = changed_disk(DISK, 2)
LAST, _ = changed_disk(CHANGED, 3)


class Attempt:
    """A second backup over a repository whose n-th call fails."""

    def __init__(self, directory: Path, n: int, fault: type[RepositoryFault], *, after: bool, times: int) -> None:
        directory.mkdir()
        self.memory = MemoryRepository()
        self._directory = directory
        repo = make_repo(self.memory)
        self._back_up(repo, DISK)
        self.failing = FailingRepository(self.memory, n, fault, after=after, times=times)
        self.fault: Fault | None = None
        try:
            self._back_up(open_repo_at(self.failing), CHANGED)
        except Fault as met:
            self.fault = met

    def _back_up(self, repo: Repo, disk: bytes) -> int:
        return back_up_image(repo, self._directory / "disk.raw", disk, self._directory / "index").sid

    def assert_decided(self) -> str:
        """How it ended, after checking that it ended as the protocol says; and that the next backup goes on."""
        repo = open_repo_at(self.memory)
        outcome = assert_decided(repo.pool, self.fault, {1: DISK}, CHANGED)
        point = self._back_up(repo, LAST)
        commit = read_commit(repo.pool, point)
        assert commit is not None
        assert restored(repo.pool, commit) == LAST
        return outcome


def attempts(directory: Path, fault: type[RepositoryFault], *, after: bool, times: int = 1) -> dict[str, Counter[str]]:
    """The outcomes by the call that failed, for every call there is."""
    table: dict[str, Counter[str]] = {}
    for n in range(1, 1000):
        attempt = Attempt(directory / f"{n}", n, fault, after=after, times=times)
        outcome = attempt.assert_decided()
        if not attempt.failing.failed:
            assert outcome == "good"
            assert n > 15
            return table
        call, _, name = attempt.failing.failed.partition(" ")
        table.setdefault(f"{call} {name.partition('/')[0]}", Counter())[outcome] += 1
        expected = (fault, SessionUnknown)
        assert attempt.fault is None or isinstance(attempt.fault, expected), (attempt.failing.failed, attempt.fault)
    raise AssertionError("the backup never ends")


@pytest.mark.parametrize(("fault", "after"), ONCE.values(), ids=ONCE.keys())
def test_a_call_that_fails_once_ends_a_backup_with_its_fault_or_not_at_all(
    tmp_path: Path, fault: type[RepositoryFault], after: bool
) -> None:
    table = attempts(tmp_path, fault, after=after)
    assert table.keys() >= {"put sess", "put c", "put rpd", "put rp", "get rp", "get rpd", "list c", "list sess"}
    for call in table:
        print(f"{call:12} {fault.code} {'after' if after else 'before'}: {dict(table[call])}")


@pytest.mark.parametrize("after", [False, True], ids=["not done", "reply lost"])
def test_a_repository_that_never_comes_back_does_not_either(tmp_path: Path, after: bool) -> None:
    table = attempts(tmp_path, RepositoryUnreachable, after=after, times=10_000)
    for call in table:
        print(f"{call:12} for ever {'after' if after else 'before'}: {dict(table[call])}")


@pytest.fixture(scope="module", params=[OPEN, SEALED], ids=["open", "sealed"])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Parameters, MemoryRepository]:
    directory = tmp_path_factory.mktemp("stored")
    memory = MemoryRepository()
    repo = make_repo(memory, request.param)
    back_up_image(repo, directory / "disk.raw", DISK, directory / "index")
    back_up_image(repo, directory / "disk.raw", CHANGED, directory / "index")
    return request.param, memory


@pytest.mark.parametrize("fault", [RepositoryUnreachable, RepositoryDenied])
@pytest.mark.parametrize("times", [1, 10_000], ids=["once", "for ever"])
def test_a_restore_whose_reads_fail_says_so_and_shows_nothing(
    stored: tuple[Parameters, MemoryRepository], tmp_path: Path, fault: type[RepositoryFault], times: int
) -> None:
    parameters, memory = stored
    for n in range(1, 1000):
        target = tmp_path / str(n) / "disk.raw"  # apart: what a failed restore kept, the next one goes on from
        target.parent.mkdir()
        failing = FailingRepository(memory, n, fault, times=times)
        try:
            pool = open_pool(failing, secret_of(parameters))
            repo = Repo(pool, ContainerReader(pool))
            point = read_point(pool, list_points(pool).find("latest"))
            outcome = restore(repo, point.disks[0], target, Quiet(), overwrite=False, workers=2)
        except fault:
            assert failing.failed
            assert not target.exists()
            continue
        assert not outcome.lost
        assert target.read_bytes() == CHANGED
        if not failing.failed:  # else nobody read that listing to its end
            assert n > 10
            return
