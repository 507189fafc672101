"""Images of other formats and live disks, by the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingot.front_door import FrontDoor
from tests.vsa.disks.qemu_images import SUBFORMATS, make_image, need_qemu, qemu


@pytest.mark.parametrize("kind", SUBFORMATS)
def test_an_image_of_any_format_restores_as_the_disk_that_it_holds(made: FrontDoor, kind: str) -> None:
    need_qemu()
    raw = made.image(size=4 << 20)
    (made.directory / "other").mkdir()
    image = make_image(made.directory / "other", kind, raw)
    assert made.document("backup", image)["disk_bytes"] == 4 << 20
    made.good("restore", "latest:disk", "--to", "back.raw")
    assert (made.directory / "back.raw").read_bytes() == raw.read_bytes()


def test_a_snapshot_and_a_format_are_chosen_by_option(made: FrontDoor) -> None:
    need_qemu()
    image = make_image(made.directory, "qcow2", made.image(size=1 << 20))
    qemu("qemu-img", "snapshot", "-c", "before", image)
    qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 1M", image)
    image = image.rename(image.with_suffix(".img"))
    made.good("backup", image, "--format", "qcow2", "--snapshot", "before")
    made.good("restore", "latest", "--to", "back.raw")
    assert (made.directory / "back.raw").read_bytes() == (made.directory / "web1.raw").read_bytes()
    ran = made.run("backup", image)
    assert ran.code == 2
    assert "--format qcow2 or --format raw says which it is" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["web1.raw", "--format", "qcow3"],
            "expected one of raw, qcow2, vmdk, vhd, vhdx, vdi, found 'qcow3'",
        ),
        (["nbd://localhost/vda"], "--machine: expected whose disk nbd://localhost/vda is"),
        (["web1.raw", "--checkpoint", "c1"], "--checkpoint: expected the name of a dirty bitmap, and an NBD export"),
        (["nbd:///vda", "--machine", "m"], "expected nbd://host/export, found no host"),
    ],
)
def test_what_makes_no_sense_is_refused(made: FrontDoor, arguments: list[str], message: str) -> None:
    made.image()
    ran = made.run("backup", *arguments)
    assert ran.code == 2
    assert message in ran.err


def test_a_server_that_is_not_there_is_a_fault_by_name(made: FrontDoor, tmp_path: Path) -> None:
    ran = made.run("backup", f"nbd+unix:///vda?socket={tmp_path}/none", "--machine", "m", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "vsa.nbd_unreachable")
