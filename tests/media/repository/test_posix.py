"""Writing past the page cache: what lies there is what was written, wherever the bytes came from."""

import fcntl
import mmap
import os
from pathlib import Path

import pytest

from media.repository.posix import RealPosix

SIZES = (0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 4095, 5 << 20)


def memory(size: int, start: int) -> memoryview:
    """Bytes that repeat nowhere, in memory that begins `start` bytes behind a page."""
    pages = memoryview(mmap.mmap(-1, size + start + 1))
    pages[start : start + size] = b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]
    return pages[start : start + size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("start", [0, 1, 512])
def test_a_file_holds_what_was_written_from_any_memory(tmp_path: Path, size: int, start: int) -> None:
    posix, body = RealPosix(), memory(size, start)
    fd = posix.create(tmp_path / "object")
    posix.write(fd, body)
    posix.fsync(fd)
    os.close(fd)
    assert (tmp_path / "object").read_bytes() == body


def test_writing_appends_after_an_odd_number_of_bytes(tmp_path: Path) -> None:
    posix, body = RealPosix(), memory(2 << 20, 0)
    fd = posix.create(tmp_path / "object")
    posix.write(fd, b"odd")
    posix.write(fd, body)
    os.close(fd)
    assert (tmp_path / "object").read_bytes() == b"odd" + body


def test_a_file_in_memory_takes_what_it_cannot_take_directly() -> None:
    fd, body = os.memfd_create("object"), memory(2 << 20, 0)
    RealPosix().write(fd, body)
    assert os.pread(fd, 4 << 20, 0) == body
    os.close(fd)


def test_the_descriptor_is_as_it_was(tmp_path: Path) -> None:
    posix = RealPosix()
    fd = posix.create(tmp_path / "object")
    before = fcntl.fcntl(fd, fcntl.F_GETFL)
    posix.write(fd, memory(2 << 20, 0))
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before
    os.close(fd)
