"""What a repository in a directory does beyond the contract."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from media.faults import (
    ObjectExists,
    ObjectMissing,
    ObjectUnreadable,
    RepositoryDenied,
    RepositoryFault,
    RepositoryUnfit,
    RepositoryUnreachable,
    RepositoryUnsynced,
)
from media.repository.local import LocalRepository
from media.repository.posix import RealPosix
from tests.faults.failing_posix import FailingPosix

ROOT = Path(__file__).resolve().parents[3]
RACER = """
import sys
from pathlib import Path
from media.faults import ObjectExists
from media.repository.local import LocalRepository
repository = LocalRepository(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    repository.put_new("rp/0000000001", sys.argv[2].encode())
    print("won")
except ObjectExists:
    print(repository.get("rp/0000000001").decode())
"""


def test_sixteen_processes_race_for_a_name_and_one_wins(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path / "repository"), f"racer {number}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(16)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate()[0].strip() for racer in racers]
    winner = LocalRepository(tmp_path / "repository").get("rp/0000000001").decode()
    assert sorted(said) == sorted([winner] * 15 + ["won"])


def test_an_object_is_a_file_for_its_owner_only(tmp_path: Path) -> None:
    LocalRepository(tmp_path / "repository").put_new("c/0000000001/000000", b"body")
    path = tmp_path / "repository" / "c" / "0000000001" / "000000"
    assert path.read_bytes() == b"body"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "repository").stat().st_mode) == 0o700
    assert path.stat().st_nlink == 1


def test_what_is_no_object_is_not_listed_and_not_read(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path)
    repository.put_new("sess/0000000001", b"body")
    (tmp_path / "sess" / "link").symlink_to("0000000001")
    (tmp_path / "sess" / ".nfs0001").write_bytes(b"")
    (tmp_path / "sess" / "with space").write_bytes(b"")
    (tmp_path / "sess" / os.fsdecode(b"\xff")).write_bytes(b"")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "elsewhere").symlink_to("sess")
    (tmp_path / "tmp" / "f").write_bytes(b"")
    os.mkfifo(tmp_path / "sess" / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sess" / "sock"))
        assert [entry.name for entry in repository.list("")] == ["sess/0000000001"]
        for name in ("sess/link", "sess/fifo", "sess/sock", "sess"):
            with pytest.raises(ObjectMissing):
                repository.get(name)
            with pytest.raises(RepositoryUnfit, match="no regular file"):
                repository.put_new(name, b"")


def test_a_file_where_a_directory_should_be_is_unfit(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"")
    with pytest.raises(RepositoryUnfit, match="Not a directory"):
        LocalRepository(tmp_path).put_new("c/0000000001/000000", b"")
    with pytest.raises(RepositoryUnfit, match="expected a directory"):
        LocalRepository(tmp_path / "c")


def test_directories_before_the_name_to_go_on_after_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = LocalRepository(tmp_path)
    for sid in range(1, 6):
        repository.put_new(f"c/{sid:010x}/000000", b"")
    read: list[str] = []
    scandir = os.scandir

    def noted(path: Path) -> object:
        read.append(str(path.relative_to(tmp_path)))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    assert len(list(repository.list("c/", "c/0000000004/"))) == 2
    assert read == ["c", "c/0000000004", "c/0000000005"]
    read.clear()
    assert len(list(repository.list("c/0000000002/"))) == 1
    assert read == ["c/0000000002"]


class Linkless(RealPosix):
    """A file system without hard links, as exFAT."""

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


class Renameless(Linkless):
    """One that cannot rename without overwriting either."""

    def rename_new(self, source: Path, target: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_without_hard_links_an_object_is_renamed_to_a_free_name_only(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path, Linkless())
    repository.put_new("rp/0000000001", b"first")
    with pytest.raises(ObjectExists):
        repository.put_new("rp/0000000001", b"second")
    assert repository.get("rp/0000000001") == b"first"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_links_and_without_such_renames_the_place_is_unfit(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path, Renameless())
    with pytest.raises(RepositoryUnfit, match="neither hard links nor"):
        repository.put_new("rp/0000000001", b"body")
    assert list(repository.list("")) == []
    assert list((tmp_path / "tmp").iterdir()) == []


class Repeating(RealPosix):
    """NFS: the reply to a link is lost, the client repeats it and reports the second answer."""

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        super().link(source, target)


def test_a_link_that_was_made_and_then_refused_is_ours(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path, Repeating())
    repository.put_new("rp/0000000001", b"body")
    assert repository.get("rp/0000000001") == b"body"


def test_a_root_that_went_away_or_was_exchanged_gives_no_answer(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    repository = LocalRepository(root)
    repository.put_new("rp/0000000001", b"body")
    root.rename(tmp_path / "moved")
    for exchanged in (False, True):
        if exchanged:
            root.mkdir()
        with pytest.raises(RepositoryUnreachable, match="went away"):
            repository.get("rp/0000000001")
        with pytest.raises(RepositoryUnreachable, match="went away"):
            list(repository.list("rp/"))
        with pytest.raises(RepositoryUnreachable, match="went away"):
            repository.put_new("rp/0000000002", b"body")
        with pytest.raises(RepositoryUnreachable, match="went away"):
            repository.delete("rp/0000000001")
        assert not root.exists() or not list(root.iterdir())


class Exchanging(RealPosix):
    """Mounts something else over the root just before a file is made in it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, path: Path) -> int:
        if not self._root.with_name("moved").exists():
            self._root.rename(self._root.with_name("moved"))
            self._root.mkdir()
        return super().create(path)


def test_nothing_gets_a_name_in_a_root_that_was_exchanged_during_a_put(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    repository = LocalRepository(root, Exchanging(root))
    with pytest.raises(RepositoryUnreachable, match="went away"):
        repository.put_new("ingot.json", b"{}")
    assert [path.name for path in root.rglob("*")] == ["tmp"]


def test_a_link_to_nowhere_in_place_of_the_temporary_directory_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "tmp").symlink_to("nowhere")
    with pytest.raises(RepositoryUnreachable, match="No such file"):
        LocalRepository(tmp_path).put_new("ingot.json", b"{}")


def test_an_open_of_a_missing_directory_makes_nothing(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path / "a" / "b")
    assert list(repository.list("")) == []
    with pytest.raises(ObjectMissing):
        repository.get("ingot.json")
    repository.delete("ingot.json")
    assert list(tmp_path.iterdir()) == []
    repository.put_new("ingot.json", b"{}")
    assert repository.get("ingot.json") == b"{}"


def test_temporary_files_may_be_taken_away_with_their_directory(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path)
    repository.put_new("rp/0000000001", b"body")
    (tmp_path / "tmp").rmdir()
    repository.put_new("rp/0000000002", b"body")
    assert len(list(repository.list("rp/"))) == 2


def test_a_directory_that_may_not_be_entered_is_denied(tmp_path: Path) -> None:
    directory = tmp_path / "closed"
    directory.mkdir(0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may enter everything
    try:
        with pytest.raises(RepositoryDenied, match="Permission denied"):
            LocalRepository(directory / "repository")
    finally:
        os.seteuid(user)


def calls_that_get(repository: LocalRepository, name: str) -> list[Callable[[], object]]:
    return [
        lambda: repository.get(name),
        lambda: repository.get_extent(name, 0, 1),
        lambda: repository.get_tail(name, 1),
    ]


def failing_reads(monkeypatch: pytest.MonkeyPatch, call: str, bad: Path, number: int) -> None:
    """From now on `call`, which is `open` or `pread` of the module `os`, fails for the file `bad` alone."""
    real, inode = getattr(os, call), bad.stat().st_ino

    def failing(file: Path | int, *rest: int) -> object:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
        if found.st_ino == inode:
            raise OSError(number, os.strerror(number))
        return real(file, *rest)

    monkeypatch.setattr(os, call, failing)


@pytest.mark.parametrize("call", ["open", "pread"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EUCLEAN, errno.EACCES, errno.EPERM, errno.EISDIR])
def test_a_file_that_cannot_be_read_is_one_unreadable_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    repository = LocalRepository(tmp_path)
    repository.put_new("c/0000000001/000000", b"bad")
    repository.put_new("c/0000000001/000001", b"good")
    failing_reads(monkeypatch, call, tmp_path / "c/0000000001/000000", number)
    for get in calls_that_get(repository, "c/0000000001/000000"):
        with pytest.raises(ObjectUnreadable, match=f"c/0000000001/000000: {os.strerror(number)}"):
            get()
    assert repository.get("c/0000000001/000001") == b"good"
    assert len(list(repository.list("c/"))) == 2


@pytest.mark.parametrize("call", ["open", "pread"])
@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN])
def test_a_mount_that_does_not_answer_is_no_fault_of_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    repository = LocalRepository(tmp_path)
    repository.put_new("c/0000000001/000000", b"body")
    failing_reads(monkeypatch, call, tmp_path / "c/0000000001/000000", number)
    for get in calls_that_get(repository, "c/0000000001/000000"):
        with pytest.raises(RepositoryUnreachable, match=os.strerror(number)):
            get()


def test_a_read_that_fails_below_a_root_that_went_away_is_no_fault_of_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repository"
    repository = LocalRepository(root)
    repository.put_new("rp/0000000001", b"body")

    def failing(fd: int, length: int, offset: int) -> bytes:
        root.rename(tmp_path / "moved")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(RepositoryUnreachable, match="went away"):
        repository.get("rp/0000000001")


def test_a_file_of_somebody_else_is_one_object_and_a_root_of_somebody_else_is_the_place(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    repository = LocalRepository(root)
    repository.put_new("rp/0000000001", b"body")
    user = os.geteuid()
    for directory in (*tmp_path.parents, tmp_path):
        if user == 0 and directory.stat().st_uid == 0 and not directory.stat().st_mode & 1:
            directory.chmod(directory.stat().st_mode | 0o011)
    for path, mode, fault in (
        (root / "rp" / "0000000001", 0, ObjectUnreadable),
        (root, 0, RepositoryDenied),
    ):
        before = stat.S_IMODE(path.stat().st_mode)
        for each in (root, root / "rp"):
            each.chmod(0o755)
        path.chmod(mode)
        os.seteuid(user or 65534)  # root may read everything
        try:
            with pytest.raises(RepositoryFault, match="Permission denied") as caught:
                repository.get("rp/0000000001")
            assert caught.type is fault
        finally:
            os.seteuid(user)
            path.chmod(before)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_directory_that_cannot_be_synced_is_never_said_to_be_reachable_later(tmp_path: Path, n: int) -> None:
    """Of the root, of c/, of c/0000000001/, and of the object's name in it."""
    posix = FailingPosix(RealPosix(), n, errno.EIO, frozenset({"fsync_directory"}))
    repository = LocalRepository(tmp_path / "repository", posix)
    with pytest.raises(RepositoryUnsynced, match="c/0000000001/000000: Input/output error"):
        repository.put_new("c/0000000001/000000", b"body")
    assert len(list(repository.list("c/"))) == (n == 4), "an object that has its name keeps it"


def test_who_finds_a_name_taken_and_cannot_sync_it_does_not_say_that_it_is_taken(tmp_path: Path) -> None:
    LocalRepository(tmp_path).put_new("rp/0000000001", b"body")
    posix = FailingPosix(RealPosix(), 2, errno.EIO, frozenset({"fsync_directory"}))
    with pytest.raises(RepositoryUnsynced):
        LocalRepository(tmp_path, posix).put_new("rp/0000000001", b"other")
