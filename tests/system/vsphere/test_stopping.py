"""`ingot up` ends when it is told to, also while somebody watches a vCenter: every service by itself, in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingot.allinone import SERVICES, AllInOne, Ports
from ingot.rest import Connection, Rest
from runtime.clock import SystemClock
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.services.site import Site
from tests.system.vsphere.whole import protect

MIB = 1 << 20


@dataclass
class Up:
    """The command, and what it said when all ran."""

    process: subprocess.Popen[str]
    site: Site
    pids: dict[str, int]

    def log(self, service: str) -> list[dict[str, Any]]:
        lines = (self.site.services.state / "logs" / f"{service}.log").read_text().splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def up(directory: Path) -> Iterator[Up]:
    ports = Ports.free()
    services = AllInOne(directory / "state", ports, SystemClock(), print)  # to ask where things are: it starts nothing
    command = [
        sys.executable,
        "-m",
        "ingot",
        "up",
        "--state",
        str(services.state),
        "--port",
        str(ports.first),
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        with Rest(Connection(services.url, services.token_file)) as rest:
            yield Up(process, Site(directory, services, rest), said["pids"])
    finally:
        process.kill()  # what it started ends with it
        process.communicate()


def watched(site: Site, vcenter: Vcenter) -> None:
    """A watch is established: a machine that nobody discovered is known."""
    protect(site, vcenter)
    site.wait("the watch", lambda: [job for job in site.rest.all("/jobs", kind="watch") if job["state"] == "RUNNING"])
    vcenter.add_machine("new", [MIB])
    site.wait("the new machine", lambda: [each for each in site.rest.all("/machines") if each["name"] == "new"])


@pytest.mark.parametrize("commserve", ["runs", "was killed"])
def test_services_end_by_themselves_while_a_vcenter_is_watched(tmp_path: Path, commserve: str) -> None:
    clock = SystemClock()
    with Vcenter(tmp_path / "vcenter") as vcenter, up(tmp_path / "site") as running:
        vcenter.add_machine("web", [MIB])
        watched(running.site, vcenter)
        if commserve == "was killed":
            os.kill(running.pids["commserve"], signal.SIGKILL)
        running.process.send_signal(signal.SIGTERM)
        began = clock.monotonic_seconds()
        code = running.process.wait()
        print(f"CommServe {commserve}: ended after {clock.monotonic_seconds() - began:.1f} s")

        assert code == 0
        listening = SERVICES if commserve == "runs" else ("mediaagent", "vsa")
        last = {service: running.log(service)[-1] for service in listening}
        assert {service: line["event"] for service, line in last.items()} == dict.fromkeys(listening, "stopped")
        assert sorted(last, key=lambda service: str(last[service]["time"])) == sorted(listening, reverse=True)
        assert not [pid for pid in running.pids.values() if Path(f"/proc/{pid}").exists()]
        [watch] = [line for line in running.log("vsa") if line.get("kind") == "watch" and line["event"] == "ended"]
        assert watch["state"] == "RETURNED"
        assert vcenter.sessions.by_key == {}, "it logged out"
