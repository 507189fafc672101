"""A VSA that stood still until its lease was over, and then goes on: what others do meanwhile does it no harm."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingot.allinone import Ports
from proto.agent.joining import join
from tests.sim.vcenter.sim_machine import SimMachine
from tests.system.kept import disks_of, points_of, pool_of
from tests.system.services.site import Site
from tests.system.vsphere.ambush import Ambush, Witness
from tests.system.vsphere.office import MIB
from tests.system.vsphere.whole import id_of, opened, protect

READ_SECONDS = 0.2  # of one request: it must stand still before it has read all


@contextmanager
def second_vsa(running: Site) -> Iterator[subprocess.Popen[bytes]]:
    """One more, active."""
    state, ports = running.directory / "second", Ports.free()
    token = running.rest.post("/join-tokens", {"role": "vsa", "name": "second"})["token"]
    join(running.services.url, token, "vsa", "second", [], state)
    settings = running.directory / "second.toml"
    metrics = f'[metrics]\nhost = "127.0.0.1"\nport = {ports.metrics("vsa")}\n'
    settings.write_text(f'state = "{state}"\nends_with_parent = true\n{metrics}')
    with (running.directory / "second.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "vsa", "--config", str(settings)], stdout=log, stderr=log)
    try:
        active = {"vsa", "second"}
        running.wait(
            "the second VSA",
            lambda: {a["name"] for a in running.rest.all("/agents", role="vsa") if a["state"] == "active"} == active,
        )
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait()


def test_a_zombies_snapshot_stays_until_it_removes_it_itself(tmp_path: Path) -> None:
    with opened(tmp_path) as (running, vcenter), second_vsa(running) as second:
        web = vcenter.add_machine("web", [24 * MIB], change_tracking=True)
        web.guest_write(0, 0, random.Random(1).randbytes(20 * MIB))
        ambush, witness = Ambush(vcenter), Witness(vcenter)
        ambush.latency_by_method["nbd.read"] = READ_SECONDS
        reads = threading.Event()
        ambush.lay("reading", web, reads.set)
        protect(running, vcenter)
        pids = {"vsa": running.services.pids()["vsa"] or 0, "second": second.pid}
        job = running.begun(id_of(vcenter, web))
        assert reads.wait(60)
        [lease] = leases(running, job)
        zombie, other = lease["agent_name"], ({"vsa", "second"} - {lease["agent_name"]}).pop()
        running.wait("the zombie's read", lambda: is_read(web))
        os.kill(pids[zombie], signal.SIGSTOP)
        [snapshot] = web.snapshots

        ended = running.ended(job)
        assert ended["state"] in ("DONE", "DONE_WITH_WARNINGS"), ended
        assert [each["agent_name"] for each in leases(running, job)] == [zombie, other]
        assert web.snapshots == [snapshot], "whoever came after it removed its own, and not the zombie's"
        assert is_read(web)

        os.kill(pids[zombie], signal.SIGCONT)
        running.wait("the zombie's own cleaning", lambda: not web.snapshots)
        assert ambush.removed_under == []
        assert running.ended(job)["result"] == ended["result"]
        pool = pool_of(running.services.state)
        assert [point for point, _ in points_of(pool)] == [ended["result"]["recovery_point"]]
        for disk in disks_of(pool, ended["result"]["recovery_point"]):
            assert disk.digest == witness.digest(disk)


def leases(running: Site, job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.rest.get(f"/jobs/{job['id']}/leases")["items"]
    return found


def is_read(machine: SimMachine) -> bool:
    return any(layer.readers for layer in machine.disk(0).layers)
