"""Images of other formats and live disks, by the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ingot.front_door import ROOT, FrontDoor, environment
from tests.ingot.test_readme import console_lines
from tests.vsa.disks.qemu_images import SUBFORMATS, make_image, need_qemu, qemu, read_back, serving


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


@pytest.mark.parametrize(("suffix", "driver"), [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc"), ("vhdx", "vhdx")])
def test_a_disk_is_restored_to_the_format_that_the_name_ends_in(made: FrontDoor, suffix: str, driver: str) -> None:
    need_qemu()
    raw = made.image(size=6 << 20)
    made.good("backup", raw)
    image = made.directory / f"back.{suffix}"
    document = made.document("restore", "latest", "--to", image)
    assert document["disks"] == [{"disk": 0, "size": 6 << 20, "path": str(image)}]
    assert read_back(image, driver, made.directory) == raw.read_bytes()
    assert made.run("restore", "latest", "--to", image).code == 2
    made.good("restore", "latest", "--to", image, "--overwrite")


def test_several_disks_are_restored_in_the_format_that_was_asked_for(made: FrontDoor) -> None:
    need_qemu()
    images = [made.image("a.raw", 1 << 20, 1), made.image("b.raw", 2 << 20, 2)]
    made.good("backup", *images)
    made.good("restore", "latest", "--to", "back", "--format", "qcow2")
    for number, image in enumerate(images):
        assert (
            read_back(made.directory / "back" / f"disk-{number}.qcow2", "qcow2", made.directory) == image.read_bytes()
        )


def test_an_export_is_written_over_only_when_it_was_asked_for(made: FrontDoor) -> None:
    need_qemu()
    raw = made.image(size=3 << 20)
    made.good("backup", raw)
    there = made.directory / "there.raw"
    there.write_bytes(b"\xee" * (4 << 20))
    with serving(there, "raw", made.directory / "socket") as url:
        assert made.run("restore", "latest", "--to", url).code == 2
        assert there.read_bytes() == b"\xee" * (4 << 20)
        made.good("restore", "latest", "--to", url, "--overwrite")
        assert there.read_bytes() == raw.read_bytes() + b"\xee" * (1 << 20)
        made.good("backup", url, "--machine", "there")
    with serving(there, "raw", made.directory / "read-only", "-r") as url:
        ran = made.run("restore", "latest", "--to", url, "--overwrite", "--json")
        assert (ran.code, ran.json["error"]["code"]) == (1, "media.target_unwritable")
    there.write_bytes(bytes(1 << 20))
    with serving(there, "raw", made.directory / "small") as url:
        ran = made.run("restore", "latest", "--to", url, "--overwrite")
        assert (ran.code, "expected at least" in ran.err) == (1, True)


def piped(made: FrontDoor, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        (sys.executable, "-m", "ingot", "restore", *arguments, "--to", "-"),
        env=environment(made.directory),
        cwd=made.directory,
        capture_output=True,
        check=False,
    )


def test_standard_output_is_the_disk_and_nothing_else(made: FrontDoor) -> None:
    raw = made.image(size=9_000_001)
    made.good("backup", raw)
    done = piped(made, "latest")
    assert (done.returncode, done.stdout == raw.read_bytes()) == (0, True)
    assert b"restored" in done.stderr


def test_what_is_lost_is_zeros_on_standard_output_and_named_beside_it(made: FrontDoor) -> None:
    raw = made.image(size=9_000_000)
    made.good("backup", raw)
    container = made.containers()[0]
    data = bytearray(container.read_bytes())
    data[len(data) // 2] ^= 1
    container.chmod(0o600)
    container.write_bytes(data)
    made.good("backup", made.image("other.raw", 1000, 9))
    done = piped(made, "latest:web1")
    content = raw.read_bytes()
    wrong = [at for at in range(0, len(content), 512) if done.stdout[at : at + 512] != content[at : at + 512]]
    assert done.returncode == 3
    assert len(done.stdout) == len(content)
    assert 0 < len(wrong) < 400
    assert not any(done.stdout[wrong[0] : wrong[-1] + 512])
    assert b"LOST" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "-", "--json"], "expected no --json"),
        (["--to", "-", "--format", "qcow2"], "expected no --format, found qcow2"),
        (["--to", "nbd://h/x", "--format", "vmdk"], "what goes there is raw"),
        (["--to", "-"], "expected --disk, as"),
        (["--to", "x", "--format", "qed"], "expected one of raw, qcow2"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(made: FrontDoor, arguments: list[str], message: str) -> None:
    made.good("backup", made.image("a.raw", 1000, 1), made.image("b.raw", 1000, 2))
    ran = made.run("restore", "latest", *arguments)
    assert ran.code == 2
    assert message in ran.out + ran.err


def test_an_image_never_replaces_a_device(made: FrontDoor) -> None:
    need_qemu()
    made.good("backup", made.image(size=1000))
    (made.directory / "link.qcow2").symlink_to("/dev/null")
    assert made.run("restore", "latest", "--to", "link.qcow2", "--overwrite").code == 2


def test_the_commands_of_the_page_on_images_work(made: FrontDoor) -> None:
    need_qemu()
    image = make_image(made.directory, "qcow2", made.image(size=1 << 20)).rename(made.directory / "web1.qcow2")
    qemu("qemu-img", "snapshot", "-c", "before-upgrade", image)
    (made.directory / "disk.img").write_bytes(image.read_bytes())
    program = made.directory / "ingot"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ingot "$@"\n')
    program.chmod(0o755)
    variables = environment(made.directory)
    variables["PATH"] = f"{made.directory}:{variables['PATH']}"
    lines = console_lines((ROOT / "docs" / "images.md").read_text())
    assert len(lines) >= 6
    script = "set -e -o pipefail\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script], cwd=made.directory, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
