"""What every place keeps that a disk is restored to, whatever format it has."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from media.extents import Extent
from media.faults import TargetExists, TargetUnwritable
from media.reader import DiskWriter
from runtime.clock import SystemClock
from tests.vsa.disks.qemu_images import need_qemu, random_disk, read_back
from vsa.disks.formats import Format
from vsa.disks.image_target import ImageTarget
from vsa.disks.target import FileTarget

SIZE = (12 << 20) + 512
CONTENT, NOISE = random_disk(4, SIZE)
CLOCK = SystemClock()


class Made(NamedTuple):
    format: Format
    path: Path

    def open(self, *, overwrite: bool = False, size: int = SIZE) -> FileTarget | ImageTarget:
        if self.format is Format.RAW:
            return FileTarget(self.path, size, overwrite=overwrite)
        return ImageTarget(self.path, size, self.format, CLOCK, overwrite=overwrite)

    def content(self) -> bytes:
        return read_back(self.path, self.format.driver, self.path.parent)


@pytest.fixture(params=Format, ids=lambda format: format.value)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    need_qemu()
    return Made(request.param, tmp_path / f"disk.{request.param.value}")


def fill(target: DiskWriter) -> None:
    """Write the disk out of order from several threads, as a restore does."""
    pieces = [
        Extent(at, min(70_144, extent.end - at)) for extent in NOISE for at in range(extent.offset, extent.end, 70_144)
    ]
    random.Random(1).shuffle(pieces)

    def run(number: int) -> None:
        for piece in pieces[number::3]:
            target.write(piece.offset, memoryview(CONTENT)[piece.offset : piece.end])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_is_written_in_any_order_is_there_and_only_when_it_is_finished(made: Made) -> None:
    with made.open() as target:
        assert target.reads_zero
        fill(target)
        assert not made.path.exists()
        target.finish()
    assert made.content() == CONTENT
    assert list(made.path.parent.iterdir()) == [made.path]


def test_what_is_not_finished_leaves_nothing(made: Made) -> None:
    with made.open() as target:
        target.write(0, memoryview(b"x" * 512))
    assert list(made.path.parent.iterdir()) == []
    with pytest.raises(TargetUnwritable):
        target.write(0, memoryview(b"late"))


def test_what_is_there_is_kept_unless_it_is_to_be_overwritten(made: Made) -> None:
    made.path.write_bytes(b"precious")
    with pytest.raises(TargetExists):
        made.open()
    with made.open(overwrite=True, size=4096) as target:
        assert made.path.read_bytes() == b"precious"
        target.finish()
    assert made.content() == bytes(4096)


def test_a_file_that_appears_meanwhile_is_kept(made: Made) -> None:
    with made.open() as target:
        made.path.write_bytes(b"faster")
        with pytest.raises(TargetExists, match="meanwhile"):
            target.finish()
    assert made.path.read_bytes() == b"faster"


def test_what_was_not_written_takes_no_room(made: Made) -> None:
    with made.open(size=256 << 20) as target:
        target.write(100 << 20, memoryview(b"x" * 4096))
        target.finish()
    assert made.path.stat().st_blocks * 512 < 64 << 20
    assert made.content()[100 << 20 :][:4097] == b"x" * 4096 + b"\0"


def test_a_place_that_is_not_there_or_a_directory_is_a_named_fault(made: Made) -> None:
    with pytest.raises(TargetUnwritable, match="cannot be created"):
        made._replace(path=made.path.parent / "no" / "where.x").open()
    made.path.mkdir()
    with pytest.raises(TargetExists):
        made.open(overwrite=True)


def test_a_name_that_looks_like_an_option_or_a_protocol_is_only_a_name(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.path.parent)
    for name in ("-f", "nbd:x", "json:{}"):
        odd = Made(made.format, Path(name))
        with odd.open(size=4096) as target:
            target.write(0, memoryview(b"y" * 512))
            target.finish()
        odd.path.rename(made.path)
        assert made.content()[:513] == b"y" * 512 + b"\0"
