"""The dummy nbdkit: what it serves, and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sim.connected import machine_of, result
from tests.sim.vcenter import rooms
from tests.sim.vcenter.faults import Faults
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.vsa.nbd.served import Client
from vsa.nbd.numbers import Chunk, Command
from vsa.nbd.wire import Request, decode_block_status

MIB = 1 << 20
NBDKIT = Path(rooms.__file__).with_name("nbdkit")


_STARTING = "import subprocess, sys; subprocess.Popen(sys.argv[2:], pass_fds=[int(sys.argv[1])]).wait()"


def started(
    vcenter: Vcenter,
    machine: SimMachine,
    socket: Path,
    *,
    file: str,
    password: str = "",
    by_another: bool = False,
    **more: str,
) -> subprocess.Popen[str]:
    """The program with the command line of the real one, its password in a file descriptor.

    `by_another`: as the child of a process, which is given back.
    """
    reading, writing = os.pipe()
    os.write(writing, (password or vcenter.password).encode())
    os.close(writing)
    parameters = {
        "libdir": "/opt/vmware-vix-disklib-distrib",
        "server": f"127.0.0.1:{vcenter.port}",
        "user": vcenter.user,
        "password": f"-{reading}",
        "thumbprint": vcenter.thumbprint,
        "vm": f"moref={machine.moid}",
        "file": file,
        **more,
    }
    command = [
        *([sys.executable, "-c", _STARTING, str(reading)] if by_another else []),
        str(NBDKIT),
        *(["-r"] if "snapshot" in more else []),
        "-f",
        "--exit-with-parent",
        "-U",
        str(socket),
        "vddk",
    ]
    try:
        return subprocess.Popen(
            [*command, *(f"{key}={value}" for key, value in parameters.items())],
            pass_fds=[reading],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(reading)


@contextmanager
def serving(vcenter: Vcenter, machine: SimMachine, socket: Path, **how: Any) -> Iterator[Client]:
    process = started(vcenter, machine, socket, **how)
    pause = threading.Event()
    try:
        while not socket.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            pause.wait(0.01)
        with Client(socket) as client:
            yield client.go(export="")
    finally:
        process.terminate()
        process.communicate()


def read(client: Client, offset: int, length: int) -> bytes:
    client.say(Request(0, Command.READ, 7, offset, length))
    head, payload = client.chunk()
    if head.kind != Chunk.OFFSET_DATA:
        raise OSError(payload)
    return payload[8:]


@pytest.fixture
def web(vcenter: Vcenter) -> SimMachine:
    machine = vcenter.add_machine("web", [16 * MIB], change_tracking=True)
    machine.guest_write(0, MIB, b"one" * MIB)
    return machine


def test_it_serves_a_snapshot_and_says_where_its_data_is(vcenter: Vcenter, web: SimMachine, tmp_path: Path) -> None:
    taken = web.take_snapshot()
    web.guest_write(0, 2 * MIB, b"later" * 1000)
    file = taken.layers[2000][-1].file_name
    with serving(vcenter, web, tmp_path / "s", file=file, snapshot=taken.moid) as client:
        assert b"".join(read(client, at, 2 * MIB) for at in range(0, 16 * MIB, 2 * MIB)) == web.disk_bytes(0, taken)
        client.say(Request(0, Command.BLOCK_STATUS, 7, 0, 16 * MIB))
        _, payload = client.chunk()
        _, extents = decode_block_status(payload)
        assert [(each.length, each.flags) for each in extents] == [(MIB, 3), (3 * MIB, 0), (12 * MIB, 3)]
        with pytest.raises(OSError, match="failed to allocate"):
            read(client, 0, 4 * MIB)
        with pytest.raises(OSError, match="sectors"):
            read(client, 1, 512)


def test_a_snapshot_that_is_read_stays_what_it_was_and_needs_consolidation(
    vcenter: Vcenter, service: Any, web: SimMachine, tmp_path: Path
) -> None:
    taken = web.take_snapshot()
    web.guest_write(0, MIB, b"later" * 1000)
    before = web.disk_bytes(0, taken)
    machine = machine_of(service, web.moid)
    with serving(vcenter, web, tmp_path / "s", file=taken.layers[2000][-1].file_name, snapshot=taken.moid) as client:
        result(machine.snapshot.rootSnapshotList[0].snapshot.RemoveSnapshot_Task(removeChildren=False))
        assert machine.runtime.consolidationNeeded
        assert read(client, MIB, MIB) == before[MIB : 2 * MIB]
    result(machine.ConsolidateVMDisks_Task())
    assert not machine.runtime.consolidationNeeded
    assert len(web.disk(0).layers) == 1


def test_what_is_written_is_on_the_disk_and_noted_as_changed(vcenter: Vcenter, web: SimMachine, tmp_path: Path) -> None:
    web.power_off()
    since = web.disk(0).tracking.snapshot()
    file = web.disk(0).layers[-1].file_name
    with serving(vcenter, web, tmp_path / "s", file=file) as client:
        client.say(Request(0, Command.WRITE, 7, 8 * MIB, 4096))
        client.socket.sendall(b"w" * 4096)
        assert client.chunk()[0].kind == Chunk.NONE
        client.say(Request(0, Command.WRITE_ZEROES, 7, MIB, MIB), Request(0, Command.FLUSH, 8, 0, 0))
        assert [client.chunk()[0].kind for _ in range(2)] == [Chunk.NONE, Chunk.NONE]
    assert web.disk_bytes(0, None, 8 * MIB, 4096) == b"w" * 4096
    assert not any(web.disk_bytes(0, None, MIB, MIB))
    tracking = web.disk(0).tracking
    changed = tracking.changed(since or "", tracking.live_change_id or "", 16 * MIB)
    assert list(changed) == [(MIB, 2 * MIB), (8 * MIB, 8 * MIB + 65536)]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"password": "another"}, "incorrect user name or password"),
        ({"thumbprint": "00:" * 19 + "00"}, "another thumbprint"),
        ({"file": "[datastore1] web/none.vmdk"}, "cannot find the file"),
        ({"snapshot": "snapshot-999"}, "snapshot-999 cannot be found"),
        ({"vm": "moref=vm-999"}, "vm-999 cannot be found"),
        ({"server": "127.0.0.1:1"}, "Could not connect"),
        ({"nonsense": "1"}, "unknown parameter 'nonsense'"),
    ],
)
def test_it_ends_with_a_reason_where_the_real_one_would(
    vcenter: Vcenter, web: SimMachine, tmp_path: Path, how: dict[str, str], why: str
) -> None:
    taken = web.take_snapshot()
    usual = {"file": taken.layers[2000][-1].file_name, "snapshot": taken.moid}
    process = started(vcenter, web, tmp_path / "s", **{**usual, **how})
    _, said = process.communicate()
    assert process.returncode == 1
    assert why in said
    assert vcenter.password not in said


@pytest.mark.parametrize("serves", [True, False])
def test_it_ends_when_whoever_started_it_is_killed(
    vcenter: Vcenter, web: SimMachine, tmp_path: Path, serves: bool
) -> None:
    """Also while it logs in, before anybody could be served."""
    taken = web.take_snapshot()
    logs_in, killed = threading.Event(), threading.Event()

    class Ambush(Faults):
        def meet(self, method: str, moid: str) -> None:
            if method == "nbd.open" and not serves:
                logs_in.set()
                killed.wait()
            super().meet(method, moid)

    vcenter.faults = Ambush()
    file = taken.layers[2000][-1].file_name
    parent = started(vcenter, web, tmp_path / "s", file=file, snapshot=taken.moid, by_another=True)
    pause = threading.Event()
    while not ((tmp_path / "s").exists() if serves else logs_in.is_set()):
        assert parent.poll() is None
        pause.wait(0.01)
    parent.kill()
    try:
        said, _ = parent.communicate()  # to the end of what it writes to, which is when it ended as well
    finally:
        killed.set()
    assert said == ""
    assert parent.returncode == -signal.SIGKILL
