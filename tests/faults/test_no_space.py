"""No space left: under the repository, under the index; at every call, and on a disk that is full for real."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.faults import RepositoryFull, SessionUnknown
from media.recovery_point import list_points
from media.repository.local import LocalRepository
from runtime.faults import Fault
from tests.faults.failing_posix import FailingPosix
from tests.faults.scenario import (
    OPEN,
    assert_decided,
    assert_points,
    back_up_image,
    distinct_bytes,
    first_disk,
    make_repo,
    open_repo_at,
    restored,
    stored_bytes_of,
    temporaries,
)
from tests.faults.unsynced_posix import UnsyncedPosix, unsynced
from tests.faults.writer_process import Job, context, ended, run_backup

SMALL = first_disk(1)
LARGE = first_disk(4, seed=9)


@pytest.mark.parametrize("times", [1, 10_000], ids=["once", "for good"])
def test_a_disk_that_is_full_at_any_call_ends_the_backup_cleanly_and_the_next_goes_on(
    tmp_path: Path, times: int
) -> None:
    outcomes: Counter[str] = Counter()
    reused = 0
    for n in range(1, 1000, 1 if times > 1 else 2):
        site = tmp_path / f"{n}"
        site.mkdir()
        root, image, index = site / "repository", site / "disk.raw", site / "index"
        back_up_image(make_repo(unsynced(root)), image, SMALL, index)
        failing = FailingPosix(UnsyncedPosix(), n, times=times)
        fault: Fault | None = None
        try:
            back_up_image(open_repo_at(LocalRepository(root, failing)), image, LARGE, index, machine="db")
        except Fault as met:
            fault = met
        assert not temporaries(root)
        repo = open_repo_at(unsynced(root))
        outcome = assert_decided(repo.pool, fault, {1: SMALL}, LARGE)
        outcomes[outcome] += 1
        if failing.failed is None:
            assert outcome == "good"
            break
        assert fault is None or isinstance(fault, RepositoryFull | SessionUnknown), fault
        if outcome == "good":
            continue
        stored = stored_bytes_of(repo.pool, 2)
        point = back_up_image(repo, image, LARGE, index, parent="none", machine="db")
        assert restored(repo.pool, list_points(repo.pool).commits[-1]) == LARGE
        assert point.statistics["new_bytes"] + stored == distinct_bytes(repo.pool, point.disks[0])
        reused += stored > 0
    assert outcomes[RepositoryFull.code] > 10
    assert reused > 3


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    directory = tmp_path / "mounted"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_on_a_small_file_system_the_next_run_goes_on_from_what_was_stored(mounted: Path, tmp_path: Path) -> None:
    huge = first_disk(8, seed=9)
    root, image, index = mounted / "repository", tmp_path / "disk.raw", tmp_path / "index"
    back_up_image(make_repo(LocalRepository(root)), image, SMALL, index)
    repo = open_repo_at(LocalRepository(root))
    with pytest.raises(RepositoryFull):
        back_up_image(repo, image, huge, index, machine="db")
    assert not temporaries(root)
    stored = stored_bytes_of(repo.pool, 2)
    assert_points(repo.pool, {1: SMALL})

    subprocess.run(["mount", "-o", "remount,size=4m", str(mounted)], check=True)
    point = back_up_image(repo, image, huge, index, machine="db")
    assert stored > 0
    assert point.statistics["new_bytes"] + stored == distinct_bytes(repo.pool, point.disks[0])
    assert_points(repo.pool, {1: SMALL, point.sid: huge})


def free_pages(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize // 4096


def fill(directory: Path, left: int) -> None:
    """Leave `left` pages free."""
    with (directory / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, max(1, free_pages(directory) - left) * 4096)
    assert free_pages(directory) <= left


@pytest.mark.parametrize("left", [*range(12), 16, 20])
def test_a_full_disk_under_a_new_index_costs_the_index_and_not_the_backup(
    mounted: Path, tmp_path: Path, left: int
) -> None:
    root, image = tmp_path / "repository", tmp_path / "disk.raw"
    make_repo(unsynced(root))
    image.write_bytes(LARGE)
    fill(mounted, left)
    process = context().Process(target=run_backup, args=(Job(root, mounted / "index", image, OPEN),))
    process.start()
    assert ended(process) == 0
    notes = " ".join(json.loads(image.with_suffix(".told").read_text())["notes"])
    assert "the index" in notes or left > 11
    assert_points(open_repo_at(unsynced(root)).pool, {1: LARGE})


def test_a_disk_that_becomes_full_under_an_index_costs_nothing_but_space(mounted: Path, tmp_path: Path) -> None:
    root, image, index = tmp_path / "repository", tmp_path / "disk.raw", mounted / "index"
    make_repo(unsynced(root))
    image.write_bytes(SMALL)
    told = []
    for disk in (SMALL, LARGE, LARGE):
        image.write_bytes(disk)
        process = context().Process(target=run_backup, args=(Job(root, index, image, OPEN, parent="none"),))
        process.start()
        assert ended(process) == 0
        told.append(json.loads(image.with_suffix(".told").read_text()))
        if len(told) == 1:
            fill(mounted, 0)
        if len(told) == 2:
            (mounted / "filler").unlink()
    assert not told[0]["notes"]
    assert "the index" in " ".join(told[1]["notes"])
    assert told[2]["statistics"]["new_bytes"] == 0
    assert_points(open_repo_at(unsynced(root)).pool, {1: SMALL, 2: LARGE, 3: LARGE})
