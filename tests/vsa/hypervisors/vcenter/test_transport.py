"""Disks of a snapshot by NBD: the stand-in for nbdkit, any server by its URL, and what goes wrong."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from media.faults import DiskResized
from runtime.clock import SystemClock
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.vsa.hypervisors.vcenter.site import MIB, vddk
from vsa.faults import HypervisorUnknown, NbdkitMissing, NbdUrlWrong, TransportFailed
from vsa.hypervisors.vcenter.transport import DiskPlace
from vsa.hypervisors.vcenter.transport.nbdkit import NbdkitTransport, command
from vsa.hypervisors.vcenter.transport.url import UrlTransport


@pytest.fixture
def vcenter(tmp_path: Path) -> Iterator[Vcenter]:
    with Vcenter(tmp_path / "vcenter") as running:
        yield running


@pytest.fixture
def web(vcenter: Vcenter) -> SimMachine:
    machine = vcenter.add_machine("web", [8 * MIB])
    machine.guest_write(0, 3 * MIB + 5, b"data" * 300_000)
    return machine


def place_of(web: SimMachine, **other: Any) -> DiskPlace:
    snapshot = web.take_snapshot()
    file = snapshot.layers[2000][-1].file_name
    values: dict[str, Any] = {"machine": web.moid, "snapshot": snapshot.moid, "device_key": 2000, "file": file}
    return DiskPlace(**{**values, "size": 8 * MIB, **other})


def test_a_disk_is_read_in_requests_that_the_library_takes_and_its_child_ends(
    vcenter: Vcenter, web: SimMachine
) -> None:
    transport = NbdkitTransport(vddk(vcenter), SystemClock())
    place = place_of(web)
    before = children()
    disk = transport.open(place)
    buffer = bytearray(8 * MIB)
    disk.read_into(0, memoryview(buffer))
    assert buffer == web.disk_bytes(0)
    assert sum(extent.length for extent in disk.data_extents(0, 8 * MIB)) < 2 * MIB, "holes are known"
    assert children() - before
    disk.close()
    disk.close()
    assert children() == before


def children() -> set[str]:
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        found |= set((thread / "children").read_text().split())
    return found


@pytest.mark.parametrize(
    ("setting", "place", "words"),
    [
        ({"password": "wrong"}, {}, "incorrect user name or password"),
        ({"thumbprint": "00:" * 19 + "00"}, {}, "thumbprint"),
        ({}, {"file": "[datastore1] web/other.vmdk"}, "cannot find the file"),
        ({}, {"snapshot": "snapshot-999"}, "cannot be found"),
    ],
)
def test_what_the_library_refuses_is_told_in_its_words(
    vcenter: Vcenter, web: SimMachine, setting: dict[str, str], place: dict[str, str], words: str
) -> None:
    transport = NbdkitTransport(vddk(vcenter, **setting), SystemClock())
    before = children()
    with pytest.raises(TransportFailed, match=words):
        transport.open(place_of(web, **place))
    assert children() == before


def test_a_disk_of_another_size_is_not_read(vcenter: Vcenter, web: SimMachine) -> None:
    with pytest.raises(DiskResized, match="expected 9"):
        NbdkitTransport(vddk(vcenter), SystemClock()).open(place_of(web, size=9))


def test_a_missing_program_is_named(vcenter: Vcenter, web: SimMachine) -> None:
    with pytest.raises(NbdkitMissing, match="/no/nbdkit"):
        NbdkitTransport(vddk(vcenter, program="/no/nbdkit"), SystemClock()).open(place_of(web))


def test_the_password_is_in_no_command_line(vcenter: Vcenter) -> None:
    place = DiskPlace("vm-1", "snapshot-2", 2000, "[d] m/m.vmdk", 1)
    line = command(vddk(vcenter), place, Path("/run/x/nbd"), 7)
    assert vcenter.password not in " ".join(line)
    assert "password=-7" in line
    assert line[1:7] == ["--exit-with-parent", "--foreground", "--readonly", "--unix", "/run/x/nbd", "vddk"]
    assert {"vm=moref=vm-1", "snapshot=snapshot-2", "file=[d] m/m.vmdk"} <= set(line)


def test_any_server_is_found_by_the_template_of_its_url(vcenter: Vcenter, web: SimMachine, tmp_path: Path) -> None:
    place = place_of(web)
    socket = tmp_path / "nbd"
    seen = threading.Event()
    settings = vddk(vcenter)
    reading, writing = os.pipe()
    os.write(writing, settings.password.encode())
    os.close(writing)
    server = subprocess.Popen(command(settings, place, socket, reading), pass_fds=(reading,))
    os.close(reading)
    try:
        while not socket.exists():
            seen.wait(0.01)
        transport = UrlTransport(f"nbd+unix:///{{moref}}-{{disk}}?socket={socket}", SystemClock())
        assert transport.unfit(place) is None
        disk = transport.open(place)
        buffer = bytearray(MIB)
        disk.read_into(3 * MIB, memoryview(buffer))
        assert buffer == web.disk_bytes(0, None, 3 * MIB, MIB)
        disk.close()
        with pytest.raises(DiskResized):
            transport.open(place_of(web, size=9))
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("template", ["nbd+unix:///{disk}?socket=/x&{what}=1", "nbd+unix:///{0}?socket=/x", "{"])
def test_a_template_that_names_what_is_not_known_is_refused(template: str) -> None:
    with pytest.raises(HypervisorUnknown, match=r"\{moref\}"):
        UrlTransport(template, SystemClock())


def test_a_template_that_makes_no_url_is_refused() -> None:
    with pytest.raises(NbdUrlWrong):
        UrlTransport("http://{moref}", SystemClock())
