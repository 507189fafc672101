"""What every `Disk` keeps, whatever holds its bytes."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from media.disk import Disk
from media.extents import Extent, total
from media.faults import DiskResized
from runtime.clock import SystemClock
from tests.media.fakes import SparseDisk
from tests.vsa.disks.qemu_images import SUBFORMATS, make_image, need_qemu, random_disk, sparse_file
from vsa.disks.nbd import NbdDisk
from vsa.disks.opening import Choice, open_image
from vsa.nbd.client import open_export
from vsa.nbd.stream import PlainStream
from vsa.nbd.url import parse_nbd_url

NOISY = 3 << 20  # with small holes; one large hole comes after it, and some noise at the end
_BEGIN, _EXTENTS = random_disk(3, NOISY)
SIZE = 24 << 20
CONTENT = _BEGIN + bytes(SIZE - NOISY - 4096) + _BEGIN[:4096]
NOISE = [*_EXTENTS, Extent(SIZE - 4096, 4096)]


@pytest.fixture(scope="module", params=["fake", "raw", "nbd", "nbd in blocks", *SUBFORMATS])
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """A disk that holds CONTENT."""
    kind: str = request.param
    directory = tmp_path_factory.mktemp("disk")
    raw = sparse_file(directory / "disk.raw", CONTENT, NOISE)
    with ExitStack() as stack:
        if kind == "fake":
            yield SparseDisk.of(CONTENT)
        elif kind == "raw":
            yield stack.enter_context(open_image(raw, Choice(), SystemClock()))
        elif kind.startswith("nbd"):
            need_qemu()
            driver = "blkdebug" if kind == "nbd in blocks" else "raw"
            yield stack.enter_context(_exported(stack, raw, driver))
        else:
            need_qemu()
            yield stack.enter_context(open_image(make_image(directory, kind, raw), Choice(), SystemClock()))


def _exported(stack: ExitStack, raw: Path, driver: str) -> NbdDisk:
    """The disk of a server on a TCP port. With `blkdebug` it takes whole blocks of 4096 bytes only."""
    node = {"raw": "driver=raw", "blkdebug": "driver=blkdebug,align=4096"}[driver]
    image = f"{node},{'file' if driver == 'raw' else 'image'}.driver=file"
    image += f",{'file' if driver == 'raw' else 'image'}.filename={raw}"
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    command = f'export LISTEN_PID=$$ LISTEN_FDS=1; exec qemu-nbd -r --image-opts "{image}" 3<&0 </dev/null'
    server = subprocess.Popen(["sh", "-c", command], stdin=listening.fileno())
    stack.callback(server.wait)
    port = listening.getsockname()[1]
    connected = socket.create_connection(("127.0.0.1", port))
    listening.close()
    plain = PlainStream(connected, "exported", 30.0, SystemClock())
    return NbdDisk(open_export(plain, parse_nbd_url("nbd://exported")), "exported")


def read(disk: Disk, offset: int, length: int) -> bytes:
    buffer = bytearray(b"\xa5" * length)
    disk.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def test_it_has_the_size_and_the_bytes(disk: Disk) -> None:
    assert disk.size == SIZE
    assert read(disk, 0, SIZE) == CONTENT
    disk.check()


def test_any_extent_of_it_is_read(disk: Disk) -> None:
    chance = random.Random(5)
    for _ in range(50):
        offset = chance.randrange(SIZE)
        length = chance.randrange(min(300_000, SIZE - offset) + 1)
        assert read(disk, offset, length) == CONTENT[offset : offset + length]


def test_data_extents_are_normal_inside_of_the_window_and_miss_nothing(disk: Disk) -> None:
    chance = random.Random(6)
    for offset, length in [(0, SIZE), (0, 0), *((chance.randrange(SIZE), chance.randrange(SIZE)) for _ in range(30))]:
        end = min(offset + length, SIZE)
        found = list(disk.data_extents(offset, length))
        assert all(left.end < right.offset for left, right in pairwise(found))
        assert all(offset <= extent.offset < extent.end <= end for extent in found)
        position = offset
        for extent in [*found, Extent(end, 0)]:
            assert not CONTENT[position : extent.offset].strip(b"\0")
            position = extent.end


def test_large_holes_are_no_data(disk: Disk, request: pytest.FixtureRequest) -> None:
    found = total(disk.data_extents(0, SIZE))
    if request.node.callspec.params["disk"] == "vhdx":
        assert found == SIZE  # qemu does not tell of VHDX
    else:
        assert found < SIZE // 2


def test_beyond_the_end_there_is_no_data_and_nothing_to_read(disk: Disk) -> None:
    assert list(disk.data_extents(SIZE, 4096)) == []
    assert list(disk.data_extents(1 << 50, 1 << 40)) == []
    if not isinstance(disk, SparseDisk):
        with pytest.raises(DiskResized):
            read(disk, SIZE - 4, 8)


def test_threads_read_it_at_the_same_time(disk: Disk) -> None:
    wrong: list[int] = []

    def run(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            offset = chance.randrange(SIZE - 70_000)
            if read(disk, offset, 70_000) != CONTENT[offset : offset + 70_000]:
                wrong.append(offset)
            list(disk.data_extents(offset, 70_000))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
