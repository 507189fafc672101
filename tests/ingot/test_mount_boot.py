"""A machine boots from a recovery point: what it reads was backed up, and what it writes goes elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.ingot.bootable_disk import make_disk, missing
from tests.ingot.front_door import FrontDoor
from tests.ingot.mounts import mount

LACKING = missing()


def boot(overlay: Path) -> list[str]:
    """Run a machine in software until it ends by itself; what it says on its serial line."""
    drive = f"file={overlay},format=qcow2,if=virtio"
    bare = ["-M", "pc", "-accel", "tcg", "-m", "256", "-nic", "none", "-display", "none", "-no-reboot"]
    done = subprocess.run(
        ["qemu-system-x86_64", *bare, "-serial", "stdio", "-drive", drive],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=200,
        check=True,
    )
    return done.stdout.decode(errors="replace").splitlines()


@pytest.mark.skipif(bool(LACKING), reason=f"to boot a machine, this one lacks {', '.join(LACKING)}")
def test_a_machine_boots_from_a_point_and_leaves_it_as_it_was(made: FrontDoor) -> None:
    image = made.directory / "web1.raw"
    make_disk(image, "marker 4711")
    made.good("backup", image)
    overlay = made.directory / "overlay.qcow2"
    with mount(made, "latest:web1", "--json") as mounted:
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", mounted.url, overlay]
        subprocess.run(create, check=True)
        first = boot(overlay)
        assert "the disk says: marker 4711" in first
        assert "written: by the machine" in first
        assert not any(line.startswith("found again") for line in first)
        second = boot(overlay)
        assert "found again: by the machine" in second  # the overlay keeps it
        compare = ["qemu-img", "compare", "-f", "raw", "-F", "raw", mounted.url, image]
        subprocess.run(compare, check=True, capture_output=True)  # and the point has none of it
        assert mounted.end() == (0, "")
