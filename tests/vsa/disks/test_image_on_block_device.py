"""A block device, as a loop device has it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.extents import Extent
from media.faults import DiskResized
from vsa.disks.image import ImageDisk
from vsa.faults import ImageEmpty

SIZE = 1 << 20
BODY = random.Random(1).randbytes(SIZE)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    backing = tmp_path / "backing.raw"
    backing.write_bytes(BODY)
    try:
        made = subprocess.run(["losetup", "--find", "--show", str(backing)], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop devices here: {error}")
    device = Path(made.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", str(device)], check=True)


def test_a_block_device_is_read_whole_and_all_of_it_may_be_data(loop: Path) -> None:
    with ImageDisk(loop) as disk:
        buffer = bytearray(SIZE)
        disk.read_into(0, memoryview(buffer))
        assert disk.size == SIZE
        assert buffer == BODY
        assert list(disk.data_extents(0, SIZE)) == [Extent(0, SIZE)]
        assert list(disk.data_extents(5, 10)) == [Extent(5, 10)]
        assert list(disk.data_extents(SIZE - 5, 10)) == [Extent(SIZE - 5, 5)]
        assert list(disk.data_extents(SIZE, 10)) == []
        disk.check()
        assert not disk.changed


def test_a_block_device_that_changes_its_size_is_noticed(loop: Path, tmp_path: Path) -> None:
    with ImageDisk(loop) as disk:
        os.truncate(tmp_path / "backing.raw", SIZE // 2)
        subprocess.run(["losetup", "--set-capacity", str(loop)], check=True)
        with pytest.raises(DiskResized, match=f"expected {SIZE} bytes, found {SIZE // 2}"):
            disk.check()
        with pytest.raises(DiskResized):
            disk.read_into(SIZE - 512, memoryview(bytearray(512)))


def test_a_block_device_without_a_medium_is_empty(loop: Path, tmp_path: Path) -> None:
    os.truncate(tmp_path / "backing.raw", 0)
    subprocess.run(["losetup", "--set-capacity", str(loop)], check=True)
    with pytest.raises(ImageEmpty, match="found 0 bytes"):
        ImageDisk(loop)
