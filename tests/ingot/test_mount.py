"""`ingot mount`: what it serves is the disk that was backed up, to clients that others wrote."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.ingot.front_door import FrontDoor
from tests.ingot.mounts import mount, socket_of

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="no qemu-img")
needs_nbdinfo = pytest.mark.skipif(not shutil.which("nbdinfo"), reason="no nbdinfo")


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@needs_qemu_img
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_point_is_served_until_somebody_ends_it(made: FrontDoor, how: signal.Signals) -> None:
    image = made.image(size=3 << 20)
    made.good("backup", image)
    with mount(made, "latest", "--json") as mounted:
        path = socket_of(mounted.url)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert mounted.document["disks"][0]["size"] == image.stat().st_size
        run("qemu-img", "convert", "-O", "raw", mounted.url, made.directory / "copy.raw")
        assert (made.directory / "copy.raw").read_bytes() == image.read_bytes()
        assert mounted.end(how) == (0, "")
        assert not path.parent.exists()


@needs_qemu_img
def test_all_disks_are_exports_named_by_their_numbers(made: FrontDoor) -> None:
    images = [made.image("a.raw", seed=1), made.image("b.raw", size=99_999, seed=2)]
    made.good("backup", *images, "--machine", "two")
    with mount(made, "latest:two", "--json", "--listen", "0") as mounted:
        disks = mounted.document["disks"]
        assert [disk["url"].rpartition("/")[2] for disk in disks] == ["0", "1"]
        assert all(disk["url"].startswith("nbd://127.0.0.1:") for disk in disks)
        for disk, image in zip(disks, images, strict=True):
            run("qemu-img", "convert", "-O", "raw", disk["url"], made.directory / "copy.raw")
            copied = (made.directory / "copy.raw").read_bytes()
            assert copied == image.read_bytes() + bytes(-image.stat().st_size % 512)  # qemu knows sectors only
        assert mounted.end() == (0, "")
    socket = made.directory / "here.sock"
    with mount(made, "latest", "--json", "--disk", "1", "--socket", socket) as mounted:
        assert [disk["disk"] for disk in mounted.document["disks"]] == [1]
        assert socket_of(mounted.url) == socket
        assert mounted.end() == (0, "")
        assert not socket.exists()


@needs_nbdinfo
def test_a_client_that_others_wrote_finds_what_is_offered(made: FrontDoor) -> None:
    made.good("backup", made.image(size=3 << 20))
    with mount(made, "latest", "--json") as mounted:
        (export,) = json.loads(run("nbdinfo", "--json", mounted.url))["exports"]
        assert (export["export-size"], export["contexts"]) == (3 << 20, ["base:allocation"])
        assert export["is_read_only"]
        assert export["can_multi_conn"]
        assert export["description"].startswith("disk 0 of web1, recovery point 0000000001")
        extents = json.loads(run("nbdinfo", "--map", "--json", mounted.url))
        assert [extent["description"] for extent in extents] == ["data", "hole,zero", "data"]
        assert mounted.end() == (0, "")


@needs_qemu_img
def test_the_commands_that_it_prints_work(made: FrontDoor) -> None:
    """Those that need neither root nor a machine: the others take the same URL."""
    image = made.image()
    made.good("backup", image)
    with mount(made, "latest", last_line="  nbd-client") as mounted:
        commands = [shlex.split(line) for line in mounted.said.splitlines() if line.startswith("  qemu-img")]
        assert [command[1] for command in commands] == ["convert", "create"]
        for command in commands:
            subprocess.run(command, check=True, cwd=made.directory, capture_output=True, timeout=60)
        for name in ("disk-0.qcow2", "overlay-0.qcow2"):
            run("qemu-img", "convert", "-O", "raw", made.directory / name, made.directory / "copy.raw")
            assert (made.directory / "copy.raw").read_bytes()[: image.stat().st_size] == image.read_bytes()
        assert mounted.end() == (0, "")


@needs_qemu_img
def test_damage_fails_the_reads_that_touch_it_is_told_once_and_ends_with_3(made: FrontDoor) -> None:
    made.good("backup", made.image())
    container = made.containers()[0]
    body = bytearray(container.read_bytes())
    body[len(body) // 2] ^= 1
    container.chmod(0o600)
    container.write_bytes(body)
    target = made.directory / "restored.raw"
    (lost,) = made.run("restore", "latest", "--to", target, "--json").json["lost_extents"]
    with mount(made, "latest", "--json") as mounted:

        def read(offset: int) -> int:
            command = ["qemu-io", "-r", "-f", "raw", "-c", f"read {offset} 512", mounted.url]
            return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode

        first = lost["offset"]
        assert [read(first - 512), read(first), read(first), read(first + lost["length"])] == [0, 1, 1, 0]
        code, said = mounted.end()
        assert code == 3
        assert said == f"ingot: cannot be read: disk 0: 512 bytes at {first}: {lost['reason']}\n"


def test_a_place_to_listen_that_cannot_be_one_is_named(made: FrontDoor) -> None:
    made.good("backup", made.image())
    taken = made.directory / "taken"
    taken.write_bytes(b"")
    for option, value, said in (
        ("--listen", "nowhere", "nowhere: expected HOST:PORT, [HOST]:PORT or PORT, as 127.0.0.1:10809"),
        ("--listen", "127.0.0.1:65536", "127.0.0.1:65536: expected HOST:PORT"),
        ("--listen", "192.0.2.1:0", "192.0.2.1:0: cannot listen here: "),
        ("--socket", str(taken), f"{taken}: cannot listen here: "),
        ("--socket", "/" + "x" * 107, "expected a path of 107 bytes at most"),
    ):
        ran = made.run("mount", "latest", option, value)
        assert ran.code == 2
        assert said in ran.err
    assert taken.read_bytes() == b""
    assert made.run("mount", "latest", "--disk", "7", "--json").json["error"]["code"] == "ingot.disk_missing"


def test_a_socket_whose_server_died_is_replaced_and_one_that_is_in_use_is_not(made: FrontDoor) -> None:
    made.good("backup", made.image())
    socket = made.directory / "here.sock"
    with mount(made, "latest", "--json", "--socket", socket) as mounted:
        ran = made.run("mount", "latest", "--json", "--socket", socket)
        assert (ran.code, ran.json["error"]["code"]) == (2, "vsa.nbd_address_unusable")
        mounted.process.kill()
        mounted.process.wait()
        assert socket.exists()
        with mount(made, "latest", "--json", "--socket", socket) as again:
            assert again.end() == (0, "")


def test_who_serves_to_a_network_is_told_who_may_read(made: FrontDoor) -> None:
    made.good("backup", made.image())
    with mount(made, "latest", "--json", "--listen", "0.0.0.0:0") as mounted:
        (note,) = mounted.document["notes"]
        assert note == "whoever reaches 0.0.0.0:0 can read these disks: no password, no encryption"
        assert mounted.end() == (0, "")
