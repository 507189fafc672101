"""What dead writers leave, and living ones keep."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.repository import Buffer
from media.repository.local import LocalRepository
from media.repository.posix import RealPosix

ROOT = Path(__file__).resolve().parents[3]
WRITER = """
import sys
from pathlib import Path
from media.repository.local import LocalRepository
from media.repository.posix import RealPosix

class Waiting(RealPosix):
    def fsync(self, fd):
        print("written", flush=True)
        sys.stdin.readline()
        super().fsync(fd)

LocalRepository(Path(sys.argv[1]), Waiting()).put_new("rp/0000000001", b"from the other process")
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has written its temporary file and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
        process.kill()


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    repository = LocalRepository(tmp_path)
    assert repository.sweep() == 0
    writer.communicate("go\n")
    assert writer.returncode == 0
    assert repository.get("rp/0000000001") == b"from the other process"


def test_what_a_killed_process_wrote_is_swept(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    repository = LocalRepository(tmp_path)
    writer.kill()
    writer.wait()
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert repository.sweep() == 1
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list(repository.list("")) == []


class Interrupting(RealPosix):
    """Lets somebody sweep at the worst moments of a put."""

    def __init__(self, root: Path, moments: set[str]) -> None:
        self._other = LocalRepository(root)
        self._moments = moments
        self.swept: list[int] = []

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._sweep("create")
        return fd

    def write(self, fd: int, body: Buffer) -> None:
        super().write(fd, body)
        self._sweep("write")

    def _sweep(self, moment: str) -> None:
        if moment in self._moments:
            self._moments.discard(moment)
            self.swept.append(self._other.sweep())


def test_a_file_swept_before_its_writer_locked_it_is_written_anew(tmp_path: Path) -> None:
    posix = Interrupting(tmp_path, {"create"})
    repository = LocalRepository(tmp_path, posix)
    repository.put_new("rp/0000000001", b"body")
    assert posix.swept == [1]
    assert repository.get("rp/0000000001") == b"body"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_sweep_in_the_same_process_leaves_what_is_being_written(tmp_path: Path) -> None:
    posix = Interrupting(tmp_path, {"write"})
    repository = LocalRepository(tmp_path, posix)
    repository.put_new("rp/0000000001", b"body")
    assert posix.swept == [0]
    assert repository.get("rp/0000000001") == b"body"


def test_to_sweep_where_nothing_was_ever_written_does_nothing(tmp_path: Path) -> None:
    assert LocalRepository(tmp_path).sweep() == 0
    assert LocalRepository(tmp_path / "missing").sweep() == 0


def test_a_sweep_takes_files_of_any_name_under_tmp_and_nothing_else(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path)
    repository.put_new("rp/0000000001", b"body")
    (tmp_path / "tmp" / "left by somebody").write_bytes(b"")
    assert repository.sweep() == 1
    assert list((tmp_path / "tmp").iterdir()) == []
    assert repository.get("rp/0000000001") == b"body"
