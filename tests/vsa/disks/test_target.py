"""Where disks are restored to: whole under their name, or not there at all."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media.faults import TargetExists, TargetUnwritable
from media.repository.posix import RealPosix
from vsa.disks.target import DeviceTarget, FileTarget, open_target


def test_a_file_gets_its_name_only_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    with open_target(path, 10_000, overwrite=False) as target:
        target.write(4096, memoryview(b"middle"))
        assert not path.exists()
        target.finish()
    assert path.read_bytes() == bytes(4096) + b"middle" + bytes(10_000 - 4096 - 6)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with open_target(tmp_path / "disk.raw", 10, overwrite=False) as target:
        target.write(0, memoryview(b"x"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"precious")
    with pytest.raises(TargetExists, match="disk"):
        open_target(path, 10, overwrite=False)
    with open_target(path, 4, overwrite=True) as target:
        assert path.read_bytes() == b"precious"
        target.finish()
    assert path.read_bytes() == bytes(4)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    with open_target(path, 10, overwrite=False) as target:
        path.write_bytes(b"faster")
        with pytest.raises(TargetExists, match="meanwhile"):
            target.finish()
    assert path.read_bytes() == b"faster"
    assert list(tmp_path.iterdir()) == [path]


def without_hard_links(patch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    patch.setattr(os, "link", refused)


def without_rename_new(patch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    without_hard_links(patch)
    patch.setattr(RealPosix, "rename_new", refused)


@pytest.mark.parametrize("poor", [without_hard_links, without_rename_new])
def test_a_place_without_hard_links_gets_the_file_all_the_same(
    poor: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor(monkeypatch)
    path, other = tmp_path / "disk.raw", tmp_path / "other.raw"
    with open_target(path, 10, overwrite=False) as target:
        target.finish()
    assert path.stat().st_size == 10
    with FileTarget(other, 10, overwrite=False) as late:
        other.write_bytes(b"faster")
        with pytest.raises(TargetExists):
            late.finish()
    assert other.read_bytes() == b"faster"
    assert set(tmp_path.iterdir()) == {path, other}


def test_a_file_made_at_the_last_moment_is_kept_also_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.raw"

    def refused(*_: object) -> None:
        path.write_bytes(b"faster")  # after everything that could be looked at beforehand
        raise OSError(errno.EINVAL, "Invalid argument")

    without_hard_links(monkeypatch)
    monkeypatch.setattr(RealPosix, "rename_new", refused)
    with open_target(path, 10, overwrite=False) as target, pytest.raises(TargetExists, match="meanwhile"):
        target.finish()
    assert path.read_bytes() == b"faster"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_was_taken_but_cannot_be_filled_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    without_rename_new(monkeypatch)
    with open_target(tmp_path / "disk.raw", 10, overwrite=False) as target:
        monkeypatch.setattr(Path, "replace", failing)
        with pytest.raises(TargetUnwritable, match="Input/output error"):
            target.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_write_after_the_end_is_refused(tmp_path: Path) -> None:
    with open_target(tmp_path / "disk.raw", 10, overwrite=False) as target:
        pass
    with (tmp_path / "another").open("w+b") as another:  # it may get the file descriptor that is free now
        with pytest.raises(TargetUnwritable):
            target.write(0, memoryview(b"late"))
        assert another.read() == b""


@pytest.mark.parametrize(("name", "size"), [("no/such/folder.raw", 10), ("disk.raw", 1 << 62)])
def test_a_file_that_cannot_be_made_is_a_named_fault_and_leaves_nothing(tmp_path: Path, name: str, size: int) -> None:
    with pytest.raises(TargetUnwritable, match="cannot be created"):
        open_target(tmp_path / name, size, overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_is_refused_even_when_it_may_be_overwritten(tmp_path: Path, overwrite: bool) -> None:
    with pytest.raises(TargetExists, match="found a directory"):
        open_target(tmp_path, 10, overwrite=overwrite)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A loop device of 1 MiB full of ones."""
    backing = tmp_path / "backing"
    backing.write_bytes(b"\xff" * (1 << 20))
    made = subprocess.run(("losetup", "--find", "--show", backing), capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr.strip()}")
    path = Path(made.stdout.strip())
    yield path
    subprocess.run(("losetup", "--detach", path), check=True)


def test_a_block_device_is_written_in_place_and_zeroed_where_asked(device: Path) -> None:
    with open_target(device, 1 << 20, overwrite=True) as target:
        assert isinstance(target, DeviceTarget)
        assert not target.reads_zero
        target.write(0, memoryview(b"start"))
        target.write_zeros(4096, 8192)
        target.write_zeros(20_001, 3)
        target.finish()
    found = device.read_bytes()
    assert found[:6] == b"start\xff"
    assert found[4095:12_289] == b"\xff" + bytes(8192) + b"\xff"
    assert found[20_000:20_005] == b"\xff\0\0\0\xff"


def test_a_block_device_that_is_too_small_or_not_to_be_overwritten_is_refused(device: Path) -> None:
    with pytest.raises(TargetExists, match="block device"):
        open_target(device, 10, overwrite=False)
    with pytest.raises(TargetUnwritable, match=f"expected a device of at least {2 << 20} bytes, found {1 << 20}"):
        open_target(device, 2 << 20, overwrite=True)
