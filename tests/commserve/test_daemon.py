"""The CommServe as a process: starts, is joined, is killed, drains; TLS where others can reach it."""

from __future__ import annotations

import http.client
import json
import queue
import signal
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commserve.settings import is_loopback
from proto import agents_pb2
from proto.agent.joining import CommServeForeign, JoinRefused, join, load_membership
from proto.agent.line import Line
from runtime.settings import SettingsInvalid, split
from runtime.version import VERSION
from tests.ingot.front_door import ROOT

_SECONDS = 120


class Daemon:
    """`python -m commserve` with free ports; its log is read as it is written."""

    def __init__(self, directory: Path, http: str = "127.0.0.1:0", **settings: str) -> None:
        self.state = directory / "state"
        config = directory / "commserve.toml"
        lines = [f'state = "{self.state}"', f'http = "{http}"', 'agents = "127.0.0.1:0"']
        lines += [f"{name} = {value}" for name, value in settings.items()]
        config.write_text("\n".join([*lines, "[metrics]", "port = 0", ""]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "commserve", "--config", str(config)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        started = self.hear("starting")
        self.url, self.agents, self.fingerprint = started["http"], started["agents"], started["authority"]
        self.hear("ready")

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            self._events.put(json.loads(line) if line.startswith("{") else {"event": line})
        self._events.put({"event": "over"})

    def hear(self, event: str) -> dict[str, Any]:
        while (heard := self._events.get(timeout=_SECONDS))["event"] != event:
            assert heard["event"] != "over", "".join(self.said)
        return heard

    @property
    def token(self) -> str:
        return (self.state / "first-token").read_text().strip()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_SECONDS)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status < 300, text
        return json.loads(text) if text else None

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(_SECONDS)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[list[Daemon]]:
    begun: list[Daemon] = []
    yield begun
    for daemon in begun:
        if daemon.process.poll() is None:
            daemon.end(signal.SIGKILL)
        daemon.process.wait()
        if daemon.process.stdout is not None:
            daemon.process.stdout.close()


def test_it_starts_is_joined_is_killed_and_goes_on(tmp_path: Path, daemons: list[Daemon]) -> None:
    daemons.append(daemon := Daemon(tmp_path))
    assert stat.S_IMODE((daemon.state / "first-token").stat().st_mode) == 0o600
    plan = daemon.ask("POST", "/plans", {"name": "daily"})["id"]
    token = daemon.ask("POST", "/join-tokens", {"role": "vsa", "name": "v"})["token"]
    membership = join(daemon.url, token, "vsa", "v", [], tmp_path / "agent")
    with pytest.raises(JoinRefused):
        join(daemon.url, token, "vsa", "v", [], tmp_path / "again")
    with pytest.raises(CommServeForeign):
        join(daemon.url, token[:-4] + "0000", "vsa", "v", [], tmp_path / "foreign")

    membership, identity = load_membership(tmp_path / "agent")
    line = Line(f"127.0.0.1:{daemon.agents}", identity)
    assert line.register(agents_pb2.RegisterRequest(version=VERSION, boot_id="1")).ticket_key == membership.ticket_key
    line.close()
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL

    before = daemon.token
    daemons.append(daemon := Daemon(tmp_path))
    assert daemon.token == before
    assert [found["id"] for found in daemon.ask("GET", "/plans")["items"]] == [plan]
    line = Line(f"127.0.0.1:{daemon.agents}", identity)
    assert line.register(agents_pb2.RegisterRequest(version=VERSION, boot_id="2")).ticket_key == membership.ticket_key
    waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
    lease = agents_pb2.LeaseRequest(boot_id="2", free_slots=1, wait_seconds=30)
    threading.Thread(target=lambda: waiting.put(line.lease(lease)), daemon=True).start()
    assert daemon.end() == 0  # drains: who waits for work hears that there is none, and nobody hears a broken line
    assert waiting.get(timeout=_SECONDS) == agents_pb2.LeaseReply()
    line.close()
    assert not any(before.rpartition("_")[2] in line for daemon in daemons for line in daemon.said)


def test_off_loopback_it_speaks_tls_with_the_authoritys_certificate(tmp_path: Path, daemons: list[Daemon]) -> None:
    daemons.append(daemon := Daemon(tmp_path, "0.0.0.0:0", names='["backup.example", "127.0.0.1"]'))
    port = int(daemon.url.rpartition(":")[2])
    assert daemon.url.startswith("https://")
    trusted = ssl.create_default_context(cadata=(daemon.state / "server" / "authority.pem").read_text())
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusted, timeout=_SECONDS)
    connection.request("GET", "/api/v1/health")
    assert connection.getresponse().read() == b'{"status":"ok"}'
    connection.close()
    stranger = http.client.HTTPSConnection("127.0.0.1", port, context=ssl.create_default_context(), timeout=_SECONDS)
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.request("GET", "/api/v1/health")
    plain = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    plain.request("GET", "/api/v1/health")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()
    plain.close()


def test_a_state_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    config = tmp_path / "c.toml"
    config.write_text(f'state = "{state}"\nhttp = "127.0.0.1:0"\nagents = "127.0.0.1:0"\n')
    done = subprocess.run(
        [sys.executable, "-m", "commserve", "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "[commserve.state_unfit]" in done.stderr


def test_addresses_are_hosts_with_a_port() -> None:
    assert split("[::1]:8400", "http") == ("::1", 8400)
    for wrong in ("8400", ":8400", "host", "host:x", "host:99999"):
        with pytest.raises(SettingsInvalid, match="http: expected host:port"):
            split(wrong, "http")
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "0.0.0.0", "backup.example")] == [
        True,
        True,
        True,
        False,
        False,
    ]
