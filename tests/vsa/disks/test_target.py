"""Where disks are restored to: whole under their name, or not there at all."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.faults import TargetExists, TargetUnwritable
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


def test_a_place_without_hard_links_gets_the_file_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "disk.raw"
    with open_target(path, 10, overwrite=False) as target:
        target.finish()
    assert path.stat().st_size == 10
    with FileTarget(tmp_path / "other.raw", 10, overwrite=False) as late:
        (tmp_path / "other.raw").write_bytes(b"faster")
        with pytest.raises(TargetExists):
            late.finish()
    assert (tmp_path / "other.raw").read_bytes() == b"faster"


@pytest.mark.parametrize(("name", "size"), [("no/such/folder.raw", 10), ("disk.raw", 1 << 62)])
def test_a_file_that_cannot_be_made_is_a_named_fault_and_leaves_nothing(tmp_path: Path, name: str, size: int) -> None:
    with pytest.raises(TargetUnwritable, match="cannot be created"):
        open_target(tmp_path / name, size, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_refused_even_when_it_may_be_overwritten(tmp_path: Path) -> None:
    with pytest.raises(TargetExists, match="directory"):
        open_target(tmp_path, 10, overwrite=True)


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
