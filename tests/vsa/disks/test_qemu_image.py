"""Images that qemu reads for us: the right moment of the right disk, and nothing that an image should not name."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from media.faults import DiskResized, DiskUnreadable
from runtime.clock import SystemClock
from runtime.faults import Fault
from tests.ingot.front_door import ROOT
from tests.vsa.disks.qemu_images import make_image, need_qemu, qemu
from vsa.disks.formats import Format
from vsa.disks.image import ImageDisk
from vsa.disks.opening import AS_NAMED, Choice, open_image
from vsa.disks.qemu import QemuNbd
from vsa.disks.qemu_image import QemuImageDisk
from vsa.faults import (
    BackingMissing,
    BackingRefused,
    ImageChanged,
    ImageEmpty,
    ImageFormatUnclear,
    ImageLocked,
    ImageMalformed,
    ImageMissing,
    ImageUnsupported,
    QemuMissing,
    SnapshotMissing,
)

MIB = 1 << 20
CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def _needs_qemu() -> None:
    need_qemu()


def qcow2(
    path: Path, *writes: tuple[int, int], size: str = "8M", backing: str | None = None, like: str = "raw"
) -> Path:
    """An image with a byte written in some of its MiBs."""
    on = () if backing is None else ("-b", backing, "-F", like, "-u")
    qemu("qemu-img", "create", "-q", "-f", "qcow2", *on, path, size)
    write(path, *writes)
    return path


def write(path: Path, *writes: tuple[int, int]) -> None:
    for at, byte in writes:
        qemu("qemu-io", "-f", "qcow2", "-c", f"write -q -P {byte} {at}M 1M", path)


def read(path: Path, choice: Choice = AS_NAMED) -> list[int]:
    """The first byte of every MiB."""
    with open_image(path, choice, CLOCK) as disk:
        found = bytearray(disk.size)
        disk.read_into(0, memoryview(found))
        disk.check()
    return list(found[::MIB])


def refused(path: Path, fault: type[Fault], message: str, choice: Choice = AS_NAMED) -> None:
    with pytest.raises(fault, match=message):
        open_image(path, choice, CLOCK)


def test_an_internal_snapshot_is_read_as_it_was_by_name_or_number(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2", (1, 11))
    qemu("qemu-img", "snapshot", "-c", "before, and after", image)
    write(image, (1, 22), (3, 33))
    qemu("qemu-img", "snapshot", "-c", "7", image)
    write(image, (1, 44))
    assert read(image) == [0, 44, 0, 33, 0, 0, 0, 0]
    assert read(image, Choice(snapshot="before, and after")) == [0, 11, 0, 0, 0, 0, 0, 0]
    assert read(image, Choice(snapshot="7")) == [0, 22, 0, 33, 0, 0, 0, 0]
    assert read(image, Choice(snapshot="1")) == [0, 11, 0, 0, 0, 0, 0, 0]
    refused(image, SnapshotMissing, "'gone', found 'before, and after', '7'", Choice(snapshot="gone"))


def test_only_images_with_snapshots_have_snapshots(tmp_path: Path) -> None:
    refused(qcow2(tmp_path / "a.qcow2"), SnapshotMissing, "found none at all", Choice(snapshot="x"))
    (tmp_path / "a.raw").write_bytes(bytes(MIB))
    refused(tmp_path / "a.raw", SnapshotMissing, "found a raw image", Choice(snapshot="x"))
    refused(make_image(tmp_path, "vmdk", tmp_path / "a.raw"), SnapshotMissing, "vmdk image", Choice(snapshot="x"))


def test_a_snapshot_of_a_disk_that_had_another_size_is_refused(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2", size="4M")
    qemu("qemu-img", "snapshot", "-c", "small", image)
    qemu("qemu-img", "resize", "-q", "-f", "qcow2", image, "8M")
    refused(
        image, ImageUnsupported, "had 4194304 bytes at snapshot 'small', and has 8388608 now", Choice(snapshot="small")
    )


def test_a_chain_of_backing_files_is_read_through_to_raw(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with (tmp_path / "base" / "zero.raw").open("wb") as base:
        base.write(b"".join(bytes([byte]) * MIB for byte in range(1, 9)))
    qcow2(tmp_path / "base" / "one.qcow2", (1, 101), backing="zero.raw")
    image = qcow2(tmp_path / "two.qcow2", (2, 102), backing="base/one.qcow2", like="qcow2")
    assert read(image) == [1, 101, 102, 4, 5, 6, 7, 8]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.qcow2").symlink_to(image)
    refused(tmp_path / "elsewhere" / "link.qcow2", BackingMissing, "builds on .*elsewhere/base/one")


def test_a_backing_file_elsewhere_is_read_only_where_it_was_allowed(tmp_path: Path) -> None:
    secret, mine = tmp_path / "secret", tmp_path / "mine"
    secret.mkdir()
    mine.mkdir()
    (secret / "shadow").write_bytes(b"s" * 8 * MIB)
    for name in (str(secret / "shadow"), "../secret/shadow"):
        image = qcow2(mine / "disk.qcow2", backing=name)
        refused(image, BackingRefused, f"--backing-dir '{secret}' allows it")
        assert read(image, Choice(backing_dirs=(secret,))) == [ord("s")] * 8
    (mine / "link.raw").symlink_to(secret / "shadow")
    refused(qcow2(mine / "disk.qcow2", backing="link.raw"), BackingRefused, "secret/shadow")


@pytest.mark.parametrize(
    "name", ["json:{}", "nbd:localhost:1", "nbd+unix:///x?socket=y", "file:disk.raw", "fat:rw:/etc"]
)
def test_a_backing_file_that_is_no_plain_path_is_refused(tmp_path: Path, name: str) -> None:
    refused(qcow2(tmp_path / "disk.qcow2", backing=name), BackingRefused, "expected a file to build on")


def test_a_backing_file_that_is_missing_or_no_file_or_the_image_itself_is_named(tmp_path: Path) -> None:
    refused(qcow2(tmp_path / "a.qcow2", backing="gone.raw"), BackingMissing, "gone.raw', which is not there")
    (tmp_path / "d.raw").mkdir()
    refused(qcow2(tmp_path / "b.qcow2", backing="d.raw"), BackingRefused, "expected a regular file")
    refused(qcow2(tmp_path / "c.qcow2", backing="c.qcow2", like="qcow2"), ImageMalformed, "c.qcow2 again")
    refused(qcow2(tmp_path / "e.qcow2", backing="x.vmdk", like="vmdk"), BackingMissing, "x.vmdk")


def test_a_raw_image_stays_raw_whatever_its_guest_wrote(tmp_path: Path) -> None:
    inner = qcow2(tmp_path / "inner.qcow2", backing="/etc/shadow").read_bytes()
    (tmp_path / "disk.raw").write_bytes(inner)
    with open_image(tmp_path / "disk.raw", AS_NAMED, CLOCK) as disk:
        assert isinstance(disk, ImageDisk)
        assert disk.size == len(inner)
    (tmp_path / "disk.img").write_bytes(inner)
    refused(tmp_path / "disk.img", ImageFormatUnclear, r"--format qcow2 or --format raw says which")
    with open_image(tmp_path / "disk.img", Choice(Format.RAW), CLOCK) as disk:
        assert isinstance(disk, ImageDisk)
    refused(tmp_path / "disk.img", BackingRefused, "/etc/shadow", Choice(Format.QCOW2))


def test_a_raw_backing_file_stays_raw_whatever_its_guest_wrote(tmp_path: Path) -> None:
    inner = qcow2(tmp_path / "inner.qcow2", (0, 5)).read_bytes().ljust(8 * MIB, b"\0")
    (tmp_path / "base.raw").write_bytes(inner)
    for like in ("raw", None):
        image = qcow2(tmp_path / "disk.qcow2", backing="base.raw")
        if like is None:
            forget_backing_format(image)
        with open_image(image, AS_NAMED, CLOCK) as disk:
            found = bytearray(4)
            disk.read_into(0, memoryview(found))
        assert found == b"QFI\xfb"


def forget_backing_format(image: Path) -> None:
    """As old images are, which do not say what they build on."""
    data = bytearray(image.read_bytes())
    at = data.index(struct.pack(">II", 0xE2792ACA, 3))
    data[at : at + 4] = b"\x12\x34\x56\x78"
    image.write_bytes(data)


def test_a_backing_file_of_unclear_format_is_refused(tmp_path: Path) -> None:
    qcow2(tmp_path / "base.img")
    image = qcow2(tmp_path / "disk.qcow2", backing="base.img")
    forget_backing_format(image)
    refused(image, ImageFormatUnclear, "base.img")


def test_a_file_of_another_format_than_its_name_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2").write_bytes(bytes(MIB))
    refused(tmp_path / "disk.qcow2", ImageMalformed, "expected a qcow2 image, found no such one")
    qcow2(tmp_path / "disk.vmdk")
    refused(tmp_path / "disk.vmdk", ImageMalformed, "expected a vmdk image, found qcow2")


def test_images_that_are_no_single_disk_of_plain_bytes_are_refused(tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(MIB))
    locked = qcow2(tmp_path / "locked.qcow2")
    locked.write_bytes(with_bytes(32, b"\0\0\0\2")(locked.read_bytes()))
    refused(locked, ImageUnsupported, "encrypted")
    apart = tmp_path / "apart.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", apart, "1M")
    refused(apart, ImageUnsupported, "its data lies in another file")
    split = tmp_path / "split.vmdk"
    for subformat in ("twoGbMaxExtentSparse", "twoGbMaxExtentFlat"):
        qemu("qemu-img", "create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", split, "5G")
        refused(split, ImageUnsupported, "expected one flat file")
    flat = make_image(tmp_path, "flat.vmdk", raw)
    good = flat.read_text()
    for name, fault in (("/etc/shadow", ImageUnsupported), ("../x", ImageUnsupported), ("gone", ImageMalformed)):
        flat.write_text(good.replace("disk-flat.vmdk", name))
        refused(flat, fault, "expected")
    flat.write_text(good.replace("parentCID=ffffffff", "parentCID=12345678"))
    refused(flat, ImageUnsupported, "a delta of a snapshot")


def with_bytes(at: int, body: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + body + data[at + len(body) :]


@pytest.mark.parametrize(
    ("change", "fault", "message"),
    [
        (lambda data: data[:60], ImageMalformed, "expected 72 bytes at 0, found 60: the image is cut off"),
        (with_bytes(4, b"\0\0\0\1"), ImageMalformed, "found version 1"),
        (with_bytes(20, b"\0\0\0\x7f"), ImageMalformed, "expected clusters"),
        (with_bytes(72, b"\0\0\0\0\0\0\0\2"), ImageMalformed, "marked as corrupt"),
        (with_bytes(72, b"\1\0\0\0\0\0\0\0"), ImageMalformed, "nsupported"),
        (with_bytes(60, b"\xff\xff\xff\xff"), ImageMalformed, "65536 snapshots at most, found 4294967295"),
        (with_bytes(60, b"\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff"), ImageMalformed, "the image is cut off"),
        (with_bytes(8, b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\7"), ImageMalformed, "the image is cut off"),
        (with_bytes(8, b"\0\0\0\0\0\0\1\0\0\1\0\0"), ImageMalformed, "a backing file's name of 1 to 1023 bytes"),
        (with_bytes(24, b"\0" * 8), ImageEmpty, "a disk of 0 bytes"),
        (with_bytes(40, b"\xff" * 8), ImageMalformed, "L1|table"),
    ],
)
def test_a_damaged_header_is_a_named_fault(
    tmp_path: Path, change: Callable[[bytes], bytes], fault: type[Fault], message: str
) -> None:
    image = qcow2(tmp_path / "disk.qcow2", (1, 1))
    image.write_bytes(change(image.read_bytes()))
    refused(image, fault, message)


def test_an_image_that_was_cut_off_is_damaged_and_never_read_as_zeros(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "base.qcow2", (1, 1), (2, 2))
    os.truncate(image, image.stat().st_size - MIB)
    refused(image, ImageMalformed, "qemu-img check finds errors")
    over = qcow2(tmp_path / "disk.qcow2", backing="base.qcow2", like="qcow2")
    refused(over, ImageMalformed, "qemu-img check finds errors")


def test_a_cluster_that_goes_bad_while_it_is_read_is_unreadable(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2", (1, 1))
    data = image.read_bytes()
    l1 = struct.unpack_from(">Q", data, 40)[0]
    l2 = struct.unpack_from(">Q", data, l1)[0] & 0x00FFFFFFFFFFFE00
    with open_image(image, AS_NAMED, CLOCK) as disk:
        image.write_bytes(with_bytes(l2 + 16 * 8, struct.pack(">Q", 0x8000000000012600))(data))
        with pytest.raises(DiskUnreadable, match="read of"):
            disk.read_into(0, memoryview(bytearray(8 * MIB)))


def test_an_image_that_a_machine_has_open_is_locked(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2")
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": str(image)}}
    machine = QemuNbd("machine", node, [], CLOCK, writable=True)
    refused(image, ImageLocked, "lock")
    machine.close()
    assert read(image) == [0] * 8


def test_an_image_or_what_it_builds_on_that_was_written_to_has_changed(tmp_path: Path) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(8 * MIB))
    image = qcow2(tmp_path / "disk.qcow2", backing="base.raw")
    for path in (base, image):
        with open_image(image, AS_NAMED, CLOCK) as disk:
            disk.check()
            before = path.stat()
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
            with pytest.raises(ImageChanged, match=path.name):
                disk.check()
    with open_image(image, AS_NAMED, CLOCK) as disk:
        base.write_bytes(b"short")
        with pytest.raises(DiskResized, match=r"base\.raw: expected 8388608 bytes, found 5"):
            disk.check()


def test_a_differencing_vhd_is_refused_and_a_guest_cannot_make_a_fixed_one_dynamic(tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(b"g" * MIB)
    dynamic = make_image(tmp_path, "vhd", raw).read_bytes()
    fixed = make_image(tmp_path, "fixed.vhd", raw)
    data = fixed.read_bytes()
    fixed.write_bytes(with_bytes(0, dynamic[:512])(data))
    with open_image(fixed, AS_NAMED, CLOCK) as disk:
        found = bytearray(disk.size)
        disk.read_into(0, memoryview(found))
    assert found == with_bytes(0, dynamic[:512])(b"g" * MIB)
    fixed.write_bytes(with_bytes(len(data) - 512 + 60, b"\0\0\0\4")(data))
    refused(fixed, ImageUnsupported, "one of kind 4")
    fixed.write_bytes(data[:-512] + bytes(512))
    fixed.write_bytes(b"conectix" + data[8:-512] + bytes(512))
    refused(fixed, ImageMalformed, "expected a VHD footer")


def test_without_qemu_raw_images_are_read_and_others_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = qcow2(tmp_path / "disk.qcow2")
    (tmp_path / "disk.raw").write_bytes(b"x")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(image, QemuMissing, "qemu-img: not found in PATH")
    with open_image(tmp_path / "disk.raw", AS_NAMED, CLOCK) as disk:
        assert disk.size == 1


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    refused(tmp_path / "disk.qcow2", ImageMissing, "no such disk image")
    (tmp_path / "file").write_bytes(b"x")
    refused(tmp_path / "file" / "disk.qcow2", ImageMissing, "no such disk image")


def test_nothing_is_left_behind_and_the_child_ends_with_us(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2")
    before = set(Path("/proc/self/fd").iterdir())
    program = (
        "import os, sys; from pathlib import Path; from runtime.clock import SystemClock;"
        "from vsa.disks.opening import AS_NAMED, open_image;"
        f"disk = open_image(Path({str(image)!r}), AS_NAMED, SystemClock());"
        "print(disk._qemu._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    pid = int(killed.stdout)
    try:
        child = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(child, select.POLLIN)
    assert poll.poll(30_000), "qemu-nbd goes on although nobody is connected"
    os.close(child)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_the_child_is_told_files_and_formats_and_finds_nothing_itself(tmp_path: Path) -> None:
    (tmp_path / "base.raw").write_bytes(bytes(8 * MIB))
    image = qcow2(tmp_path / "disk.qcow2", backing="base.raw")
    with open_image(image, AS_NAMED, CLOCK) as disk:
        assert isinstance(disk, QemuImageDisk)
        node = disk._layers.node
    assert node["driver"] == "qcow2"
    assert node["backing"]["driver"] == "raw"
    assert str(tmp_path) not in json.dumps(node)
