"""The README's commands work as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.ingot.front_door import ROOT
from tests.vsa.disks.qemu_images import need_qemu


def console_lines(text: str) -> list[str]:
    """The commands of all console blocks: lines after a prompt, with what continues them."""
    lines = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            prompt, _, command = line.partition(" ")
            assert prompt in ("$", ">"), f"not a command: {line}"
            lines.append(command)
    return lines


def test_the_commands_of_the_readme_work_one_after_the_other(tmp_path: Path) -> None:
    need_qemu()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, command in (("ingot", "-m ingot"), ("python3", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        program.chmod(0o755)
    here = tmp_path / "here"
    here.mkdir()
    (here / "web1.raw").write_bytes(os.urandom(3 << 20))
    script = "set -e\n" + "\n".join(console_lines((ROOT / "README.md").read_text())) + "\n"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("INGOT_")},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (here / "recovered.raw").exists()


def test_every_page_that_the_readme_names_is_there() -> None:
    for page in re.findall(r"\]\((docs/[^)#]*)", (ROOT / "README.md").read_text()):
        assert (ROOT / page).exists(), page
