"""No space, at every call that takes some and for real."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.faults import RepositoryDenied, RepositoryFault, RepositoryFull, RepositoryUnreachable
from media.repository.local import LocalRepository
from media.repository.posix import RealPosix
from tests.faults.failing_posix import FailingPosix


def leftovers(root: Path) -> list[Path]:
    return list((root / "tmp").iterdir()) if (root / "tmp").exists() else []


def outcome(repository: LocalRepository, name: str, body: bytes) -> str:
    try:
        repository.put_new(name, body)
    except RepositoryFull as fault:
        return str(fault)
    return "put"


def test_no_space_at_any_call_leaves_no_temporary_file_and_no_part_of_an_object(tmp_path: Path) -> None:
    name, body = "c/0000000001/000000", b"body" * 1000
    failed: list[str | None] = []
    while not failed or failed[-1] is not None:
        root = tmp_path / f"{len(failed)}"
        posix = FailingPosix(RealPosix(), len(failed) + 1)
        repository = LocalRepository(root, posix)
        said = outcome(repository, name, body)
        if posix.failed is not None:
            assert said == f"put {name}: {root / name}: No space left on device"
            assert leftovers(root) == []
            linked = [*failed, posix.failed][-2:] == ["link", "fsync_directory"]
            assert [entry.name for entry in repository.list("")] == ([name] if linked else [])
            if not linked:  # an object that has its name is whole, and not taken back
                repository.put_new(name, body)
        assert repository.get(name) == body
        failed.append(posix.failed)
    assert [call for call in failed if call not in {"mkdir", "fsync_directory"}] == [
        "create",  # finds no tmp/
        "create",
        "write",
        "fsync",
        "link",
        None,
    ]


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENOSPC, RepositoryFull),
        (errno.EDQUOT, RepositoryFull),
        (errno.EFBIG, RepositoryFull),
        (errno.EACCES, RepositoryDenied),
        (errno.EROFS, RepositoryDenied),
        (errno.EIO, RepositoryUnreachable),
        (errno.ESTALE, RepositoryUnreachable),
        (errno.ETIMEDOUT, RepositoryUnreachable),
    ],
)
def test_an_error_of_the_system_has_a_fault(tmp_path: Path, number: int, fault: type[RepositoryFault]) -> None:
    repository = LocalRepository(tmp_path, FailingPosix(RealPosix(), 1, number, frozenset({"write"})))
    with pytest.raises(fault, match=os.strerror(number)):
        repository.put_new("rp/0000000001", b"body")
    assert leftovers(tmp_path) == []


def test_a_temporary_file_that_cannot_be_removed_does_not_undo_the_object(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path, FailingPosix(RealPosix(), 1, errno.EIO, frozenset({"unlink"})))
    repository.put_new("rp/0000000001", b"body")
    assert repository.get("rp/0000000001") == b"body"
    assert repository.sweep() == 1
    assert leftovers(tmp_path) == []


def test_a_file_larger_than_the_system_allows_is_no_space(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    repository = LocalRepository(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(RepositoryFull):
            repository.put_new("c/0000000001/000000", bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert leftovers(tmp_path) == []
    assert list(repository.list("")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "none", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_disk_that_is_full_for_real_keeps_what_it_has_and_nothing_of_the_rest(small_disk: Path) -> None:
    repository = LocalRepository(small_disk)
    bodies = {f"c/0000000001/{seq:06x}": os.urandom(200_000) for seq in range(6)}
    stored = []
    for name, body in bodies.items():
        try:
            repository.put_new(name, body)
            stored.append(name)
        except RepositoryFull:
            break
    assert 0 < len(stored) < len(bodies)
    assert leftovers(small_disk) == []
    assert [entry.name for entry in repository.list("")] == stored
    assert all(repository.get(name) == bodies[name] for name in stored)
    repository.delete(stored[0])
    repository.put_new("c/0000000002/000000", bodies[stored[0]])


def test_a_disk_without_inodes_is_full_too(small_disk: Path) -> None:
    repository = LocalRepository(small_disk)
    stored = 0
    with pytest.raises(RepositoryFull):  # noqa: PT012 # how many puts fit is the disk's to say
        for stored in range(100):
            repository.put_new(f"sess/{stored:010x}", b"")
    assert len(list(repository.list("sess/"))) == stored > 20
    assert leftovers(small_disk) == []
