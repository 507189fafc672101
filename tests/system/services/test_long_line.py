"""The VSA at the far end of a long line, in a network namespace of its own: latency, and cuts of the network itself.

Where there can be no namespace the tests are skipped, and say what was refused.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot.allinone import AllInOne, Ports
from ingot.children import Child
from ingot.rest import Connection, Rest
from proto.agent.joining import join
from runtime.clock import SystemClock
from tests.system.services.long_line import NEAR, Line, NotPossible, long_line
from tests.system.services.site import Site, change_image

MEGABYTES = 32
NARROW = 4 << 20  # bytes per second: a backup of all noise takes some seconds
DELAY_MS = 150


class Apart(AllInOne):
    """CommServe and MediaAgent here, the VSA at the other end of a line."""

    def __init__(self, state: Path, line: Line) -> None:
        super().__init__(state, Ports.free(), SystemClock(), lambda _: None)
        self._line = line

    def _begin(self, service: str) -> None:
        if service != "vsa":
            super()._begin(service)
            return
        settings, log = self.state / "vsa.toml", self.state / "logs/vsa.log"
        command = [*self._line.inside, sys.executable, "-m", "vsa", "--config", str(settings)]
        child = Child(service, command, log, self._clock, self._died)
        self._children.append(child)
        child.start()

    def _join(self, rest: Rest, role: str) -> None:
        token = str(rest.post("/join-tokens", {"role": role, "name": role})["token"])
        addresses = [f"line={NEAR}:{self.ports.control}:{self.ports.data}"] if role == "mediaagent" else []
        join(self.url, token, role, role, addresses, self.state / role)

    def _settings(self, service: str) -> str:
        text = super()._settings(service)
        for port in (self.ports.agents, self.ports.control, self.ports.data):
            text = text.replace(f"127.0.0.1:{port}", f"{NEAR}:{port}")
        return f'agents_address = "{NEAR}:{self.ports.agents}"\n{text}' if service == "commserve" else text


class Far(Site):
    """What is at both ends of the line, and the line."""

    def __init__(self, directory: Path, services: AllInOne, rest: Rest, line: Line) -> None:
        super().__init__(directory, services, rest)
        self.line = line
        self.disk = self.images / "web0/disk-0.raw"

    def on_its_way(self) -> dict[str, Any]:
        """A backup of much that is new, while it is being sent."""
        with self.disk.open("r+b") as disk:
            disk.write(random.Random(self.said("begun")).randbytes(MEGABYTES << 20))
        self.line.bytes_per_second = NARROW
        before = self.line.carried
        job: dict[str, Any] = self.rest.post("/machines/web0/backup")
        self.wait("data on its way", lambda: self.line.carried - before > 4 << 20)
        return job

    def said(self, event: str) -> int:
        """How often the VSA said so in its log."""
        lines = (self.services.state / "logs/vsa.log").read_text().splitlines()
        return sum(json.loads(text)["event"] == event for text in lines if text.startswith("{"))

    def noticed(self) -> None:
        """On return the VSA knows that connections are broken."""
        before = self.said("report not heard")
        self.wait("a broken connection", lambda: self.said("report not heard") > before)

    def whole(self, job: dict[str, Any]) -> None:
        """What the job made restores byte for byte."""
        self.line.bytes_per_second = 0
        point = job["result"]["recovery_point"]
        assert self.restored(point, point)["state"] == "DONE"
        assert (self.landing / point / "disk-0.raw").read_bytes() == self.disk.read_bytes()


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    try:
        with long_line() as line:
            yield line
    except NotPossible as reason:
        pytest.skip(f"needs root, and a network namespace: {reason}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, line: Line) -> Iterator[Far]:
    directory = tmp_path_factory.mktemp("far")
    (directory / "images/web0").mkdir(parents=True)
    (directory / "images/web0/machine.json").write_text('{"id": "web0"}')
    (directory / "images/web0/disk-0.raw").write_bytes(bytes(MEGABYTES << 20))
    services = Apart(directory / "state", line)
    try:
        services.start()
        with Rest(Connection(services.url, services.token_file)) as rest:
            lab = Far(directory, services, rest, line)
            lab.protect()
            yield lab
    finally:
        line.mend()
        services.stop()


def test_backups_and_restores_go_over_a_long_line(lab: Far) -> None:
    lab.line.stretch(DELAY_MS)
    for _ in range(2):
        change_image(lab.disk, random.Random(1))
        job = lab.backed_up("web0")
        assert job["state"] == "DONE", job
        lab.whole(job)


def test_a_backup_goes_on_after_a_silent_cut_that_broke_its_connections(lab: Far) -> None:
    job = lab.on_its_way()
    lab.line.cut()
    lab.noticed()
    lab.line.mend()
    ended = lab.ended(job)
    assert (ended["state"], ended["attempts"]) == ("DONE", 1), ended
    lab.whole(ended)


@pytest.mark.torture
def test_a_backup_goes_on_after_its_line_was_unplugged(lab: Far) -> None:
    job = lab.on_its_way()
    lab.line.unplug()
    lab.noticed()
    lab.line.plug()
    ended = lab.ended(job)
    assert (ended["state"], ended["attempts"]) == ("DONE", 1), ended
    lab.whole(ended)


@pytest.mark.torture
def test_a_cut_longer_than_the_lease_ends_the_attempt_by_name_and_the_next_succeeds(lab: Far) -> None:
    job = lab.on_its_way()
    lab.line.cut()
    lost = lab.wait("the lease to be over", lambda: (lab.rest.get(f"/jobs/{job['id']}"))["fault"])
    assert lost["code"] == "commserve.lease_lost"
    lab.line.mend()
    ended = lab.ended(job)
    assert (ended["state"], ended["attempts"]) == ("DONE", 2), ended
    lab.whole(ended)
