"""A machine that runs is backed up by its dirty bitmaps, and every point is the disk of its moment, byte for byte."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingot.front_door import FrontDoor
from tests.vsa.disks.qemu_images import need_qemu
from tests.vsa.disks.qmp import Machine

SIZE = 24 << 20


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    need_qemu()
    if shutil.which("qemu-system-x86_64") is None:
        assert "CI" not in os.environ, "qemu-system-x86_64 must be installed where all checks run"
        pytest.skip("qemu-system-x86_64 not installed")
    (tmp_path / "machine").mkdir()
    machine = Machine(tmp_path / "machine", SIZE)
    yield machine
    machine.stop()


def scribble(machine: Machine, seed: int, count: int = 8) -> None:
    """What a guest does: writes and zeroes here and there."""
    chance = random.Random(seed)
    for _ in range(count):
        length = chance.choice((512, 4096, 65_536, 200_000))
        offset = chance.randrange(SIZE - length) // 512 * 512
        if chance.random() < 0.8:
            machine.guest.write(offset, memoryview(chance.randbytes(length)))
        else:
            machine.guest.write_zeros(offset, length)


def backup(made: FrontDoor, machine: Machine, *arguments: str) -> dict[str, object]:
    document: dict[str, object] = made.document("backup", str(machine.url("vda")), "--machine", "web1", *arguments)
    return document


def restored(made: FrontDoor, point: object) -> bytes:
    made.good("restore", str(point), "--to", "back.raw", "--overwrite")
    return (made.directory / "back.raw").read_bytes()


def test_incrementals_of_a_running_machine_equal_its_disk_byte_for_byte(made: FrontDoor, machine: Machine) -> None:
    scribble(machine, 0, 60)
    expected, points, reads = [], [], []
    for turn in range(4):
        expected.append(machine.content())
        machine.show(f"c{turn}", f"c{turn - 1}" if turn else None)
        scribble(machine, 100 + turn)  # after the moment, before and while it is read
        document = backup(made, machine, "--checkpoint", f"c{turn}")
        scribble(machine, 200 + turn)
        points.append(document["recovery_point"])
        reads.append(document["read_bytes"])
        machine.hide()
        if turn:
            machine.forget(f"c{turn - 1}")
            assert document["notes"] == []
    assert [restored(made, point) for point in points] == expected
    assert max(reads[1:]) < reads[0] / 2
    assert made.document("show", str(points[-1]))["disks"][0]["change_id"] == "nbd-bitmap:vda/c3"


def test_without_the_bitmap_that_the_parent_recorded_the_disk_is_read_whole(made: FrontDoor, machine: Machine) -> None:
    scribble(machine, 1, 20)
    machine.show("a", None)
    assert backup(made, machine, "--checkpoint", "a")["notes"] == [
        "disk 0 is read whole: the parent has no checkpoint of it"
    ]
    machine.hide()
    machine.forget("a")
    scribble(machine, 2)
    expected = machine.content()
    machine.show("b", None)
    document = backup(made, machine, "--checkpoint", "b")
    assert document["notes"] == ["disk 0 is read whole: the server has no bitmap 'a' for it"]
    assert restored(made, document["recovery_point"]) == expected
    machine.hide()


def test_a_backup_in_between_that_recorded_nothing_makes_the_next_one_whole(made: FrontDoor, machine: Machine) -> None:
    machine.show("a", None)
    backup(made, machine, "--checkpoint", "a")
    machine.hide()
    scribble(machine, 3)
    machine.show("b", "a")
    backup(made, machine)
    expected = machine.content()
    machine.hide()
    machine.show("c", "b")
    document = backup(made, machine, "--checkpoint", "c")
    assert document["notes"] == ["disk 0 is read whole: the parent has no checkpoint of it"]
    assert restored(made, document["recovery_point"]) == expected
    machine.hide()


def test_a_checkpoint_whose_name_was_used_before_is_refused(made: FrontDoor, machine: Machine) -> None:
    machine.show("same", None)
    backup(made, machine, "--checkpoint", "same")
    ran = made.run("backup", str(machine.url("vda")), "--machine", "web1", "--checkpoint", "same", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "vsa.checkpoint_reused")
    machine.hide()
