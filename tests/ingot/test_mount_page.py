"""The commands of docs/mount.md work as they stand there, as far as they need neither root nor a machine."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.ingot.front_door import ROOT, FrontDoor
from tests.ingot.mounts import mount
from tests.ingot.test_readme import console_lines

PAGE = ROOT / "docs" / "mount.md"


@pytest.mark.skipif(not (shutil.which("qemu-img") and shutil.which("nbdcopy")), reason="no qemu-img, or no nbdcopy")
def test_the_commands_of_the_page_work_one_after_the_other(made: FrontDoor) -> None:
    image = made.image(size=3 << 20)
    made.good("backup", image)
    script = "set -e\n" + "\n".join(console_lines(PAGE.read_text())) + "\n"
    assert script.count("qemu-img") == 2
    with mount(made, "latest:web1", "--socket", "web1.sock", "--json") as mounted:
        done = subprocess.run(
            ["bash", "-c", script], cwd=made.directory, env=os.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (made.directory / "web1-again.raw").read_bytes() == image.read_bytes()
        for copy in ("web1.qcow2", "overlay.qcow2"):
            raw = made.directory / "copy.raw"
            convert = ["qemu-img", "convert", "-O", "raw", made.directory / copy, raw]
            subprocess.run(convert, check=True, cwd=made.directory)
            assert raw.read_bytes() == image.read_bytes()
        assert mounted.end() == (0, "")
