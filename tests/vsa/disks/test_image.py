"""Raw image files, good and bad."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from media.extents import Extent, total
from media.faults import DiskResized, DiskUnreadable
from runtime.faults import Fault, UsageFault
from vsa.disks.image import ImageDisk
from vsa.faults import ImageChanged, ImageEmpty, ImageMissing, ImageUnfit

KIB = 1024


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """64 KiB of data at 0 and at 1 MiB, a hole between and one to the end at 3 MiB."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.write(b"a" * 64 * KIB)
        file.seek(1024 * KIB)
        file.write(b"b" * 64 * KIB)
        file.truncate(3072 * KIB)
    return path


def extents(disk: ImageDisk, offset: int, length: int) -> list[Extent]:
    return list(disk.data_extents(offset, length))


def read(disk: ImageDisk, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    disk.read_into(offset, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 4097, 1_000_003])
def test_an_image_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    body = random.Random(size).randbytes(size)
    (tmp_path / "disk.raw").write_bytes(body)
    with ImageDisk(tmp_path / "disk.raw") as disk:
        assert disk.size == size
        assert read(disk, 0, size) == body
        assert read(disk, size - 1, 1) == body[-1:]
        assert read(disk, size // 2, 0) == b""
        assert covers(disk, 0, size)
        disk.check()


def covers(disk: ImageDisk, offset: int, length: int) -> bool:
    """Whether everything outside of the data extents is zeros, and they are normal and inside the window."""
    found = extents(disk, offset, length)
    end = min(offset + length, disk.size)
    position = offset
    for extent in [*found, Extent(max(end, offset), 0)]:
        assert position <= extent.offset <= extent.end <= max(end, offset)
        assert not any(read(disk, position, extent.offset - position))
        position = extent.end
    return all(left.end < right.offset for left, right in pairwise(found))


def test_holes_are_no_data(sparse: Path) -> None:
    with ImageDisk(sparse) as disk:
        assert extents(disk, 0, disk.size) == [Extent(0, 64 * KIB), Extent(1024 * KIB, 64 * KIB)]
        assert extents(disk, 32 * KIB, 64 * KIB) == [Extent(32 * KIB, 32 * KIB)]
        assert extents(disk, 1024 * KIB + 1, 2) == [Extent(1024 * KIB + 1, 2)]
        assert extents(disk, 2048 * KIB, 1024 * KIB) == []
        assert extents(disk, 0, 0) == []
        assert extents(disk, 3072 * KIB, 1) == []
        assert extents(disk, 1 << 50, 1 << 40) == []


def test_no_window_misses_data(sparse: Path) -> None:
    chance = random.Random(7)
    with ImageDisk(sparse) as disk:
        for _ in range(50):
            offset = chance.randrange(disk.size)
            assert covers(disk, offset, chance.randrange(2 * disk.size))


def test_an_image_that_is_one_hole_has_no_data(tmp_path: Path) -> None:
    with (tmp_path / "disk.raw").open("wb") as file:
        file.truncate(10 << 30)
    with ImageDisk(tmp_path / "disk.raw") as disk:
        assert extents(disk, 0, disk.size) == []
        assert read(disk, (10 << 30) - 5, 5) == bytes(5)


def test_where_holes_are_not_told_all_is_data(sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, position: int, what: int) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with ImageDisk(sparse) as disk:
        monkeypatch.setattr(os, "lseek", refuse)
        assert extents(disk, 5, disk.size) == [Extent(5, disk.size - 5)]


def test_a_read_that_comes_in_pieces_fills_the_buffer(sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:1000]], offset))
    with ImageDisk(sparse) as disk:
        assert read(disk, 1024 * KIB - 500, 3000) == bytes(500) + b"b" * 2500


def test_threads_read_and_look_for_data_at_the_same_time(sparse: Path) -> None:
    wrong: list[object] = []
    with ImageDisk(sparse) as disk:

        def run(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(100):
                offset = chance.randrange(960 * KIB, 1088 * KIB)
                inside = read(disk, offset, 1)
                expected = b"b" if 1024 * KIB <= offset < 1088 * KIB else b"\0"
                if inside != expected or total(disk.data_extents(0, disk.size)) != 128 * KIB:
                    wrong.append(offset)

        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_an_image_that_shrank_is_resized_where_it_is_read_and_where_it_is_checked(sparse: Path) -> None:
    with ImageDisk(sparse) as disk:
        os.truncate(sparse, 1024 * KIB)
        assert read(disk, 0, 4) == b"aaaa"
        with pytest.raises(DiskResized, match=r"disk\.raw: expected 3145728 bytes, found the end"):
            read(disk, 1024 * KIB - 4, 8)
        with pytest.raises(DiskResized, match="expected 3145728 bytes, found 1048576"):
            disk.check()
        assert extents(disk, 1024 * KIB, 1024 * KIB) == []


def test_an_image_that_grew_is_resized(sparse: Path) -> None:
    with ImageDisk(sparse) as disk:
        with sparse.open("ab") as file:
            file.write(b"more")
        assert disk.size == 3072 * KIB
        assert extents(disk, 3072 * KIB, 100) == []
        with pytest.raises(DiskResized, match="found 3145732"):
            disk.check()


def test_an_image_that_was_written_to_has_changed(sparse: Path) -> None:
    with ImageDisk(sparse) as disk:
        disk.check()
        assert not disk.changed
        before = sparse.stat()
        with sparse.open("r+b") as file:
            file.write(b"new")
        os.utime(sparse, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert disk.changed
        with pytest.raises(ImageChanged, match=r"disk\.raw"):
            disk.check()


def test_an_image_that_was_read_or_replaced_by_another_has_not_changed(sparse: Path, tmp_path: Path) -> None:
    with ImageDisk(sparse) as disk:
        sparse.read_bytes()
        (tmp_path / "new.raw").write_bytes(b"new")
        (tmp_path / "new.raw").rename(sparse)
        disk.check()
        assert read(disk, 0, 4) == b"aaaa"


def test_an_error_of_the_disk_says_where(sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv

    def fail(fd: int, buffers: list[memoryview], offset: int) -> int:
        if offset >= 8 * KIB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(fd, [buffers[0][: 8 * KIB - offset]], offset)

    monkeypatch.setattr(os, "preadv", fail)
    with (
        ImageDisk(sparse) as disk,
        pytest.raises(DiskUnreadable, match=r"disk\.raw: 2048 bytes at 8192: Input/output error"),
    ):
        read(disk, 6 * KIB, 4 * KIB)


def test_an_error_while_looking_for_data_is_no_hole(sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, position: int, what: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with ImageDisk(sparse) as disk:
        monkeypatch.setattr(os, "lseek", fail)
        with pytest.raises(DiskUnreadable, match="Input/output error"):
            extents(disk, 0, disk.size)


def _make(path: Path, kind: str) -> None:
    match kind:
        case "directory":
            path.mkdir()
        case "FIFO":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(path))
        case "empty":
            path.write_bytes(b"")
        case "link to nothing":
            path.symlink_to("nothing")
        case "character device":
            path.symlink_to("/dev/zero")
        case "below a file":
            path.parent.rmdir()
            path.parent.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "fault", "message"),
    [
        ("missing", ImageMissing, "no such disk image"),
        ("link to nothing", ImageMissing, "no such disk image"),
        ("directory", ImageUnfit, "found a directory"),
        ("FIFO", ImageUnfit, "found a FIFO"),
        ("socket", ImageUnfit, "found a socket"),
        ("character device", ImageUnfit, "found a character device"),
        ("empty", ImageEmpty, "found 0 bytes"),
        ("below a file", DiskUnreadable, "Not a directory"),
    ],
)
def test_what_cannot_be_an_image_is_refused_by_name(
    tmp_path: Path, kind: str, fault: type[Fault], message: str
) -> None:
    path = tmp_path / "in" / "disk.raw"
    path.parent.mkdir()
    _make(path, kind)
    with pytest.raises(fault, match=message) as raised:
        ImageDisk(path)
    assert str(path) in str(raised.value)
    assert isinstance(raised.value, UsageFault) == (fault is not DiskUnreadable)


def test_an_image_that_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"x")
    path.chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        with pytest.raises(DiskUnreadable, match="Permission denied"):
            ImageDisk(path)
    finally:
        os.seteuid(user)


def test_a_disk_may_be_closed_twice(sparse: Path) -> None:
    disk = ImageDisk(sparse)
    disk.close()
    disk.close()
    with pytest.raises(DiskUnreadable):
        read(disk, 0, 1)
