"""A daemon's life as its service manager and its parent see it: a real process, real signals, a real socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from runtime.clock import SystemClock
from runtime.daemon import Life
from runtime.logs import about, configure, log
configure("example")
life = Life(SystemClock())
life.run(lambda: True, ends_with_parent="parent" in sys.argv)
if "hang" in sys.argv:
    import threading
    threading.Event().wait()
with about(job="7"):
    log().info("stopped")
"""


class Manager:
    """What systemd does: a socket that hears, a process that was started."""

    def __init__(self, tmp_path: Path, *arguments: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(tmp_path / "notify"))
        self.socket.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )

    def hears(self) -> str:
        return self.socket.recv(100).decode()

    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.process.communicate(timeout=20)[0].splitlines()]

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]
        self.socket.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_is_ready_feeds_the_watchdog_and_drains_on_a_signal(tmp_path: Path, number: int) -> None:
    with Manager(tmp_path) as manager:
        assert [manager.hears(), manager.hears()] == ["READY=1", "WATCHDOG=1"]
        manager.process.send_signal(number)
        heard = manager.hears()
        while heard == "WATCHDOG=1":
            heard = manager.hears()
        assert heard == "STOPPING=1"
        lines = manager.lines()
        assert [line["event"] for line in lines] == ["ready", "draining", "stopped"]
        assert lines[-1]["job"] == "7"
        assert {line["service"] for line in lines} == {"example"}
        assert manager.process.returncode == 0


def test_a_second_signal_ends_a_drain_that_hangs(tmp_path: Path) -> None:
    with Manager(tmp_path, "hang") as manager:
        assert manager.hears() == "READY=1"
        manager.process.terminate()
        while manager.hears() != "STOPPING=1":
            continue
        manager.process.terminate()
        assert manager.process.wait(20) == 128 + signal.SIGTERM


def test_a_child_drains_when_its_parent_is_gone(tmp_path: Path) -> None:
    starter = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {PROGRAM!r}, 'parent'])\n"
        "import socket, os; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(os.environ['NOTIFY_SOCKET'])\n"
        "s.settimeout(20); assert s.recv(100) == b'READY=1'\n"
    )
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    done = subprocess.run(
        [sys.executable, "-c", starter], cwd=ROOT, env=environment, capture_output=True, timeout=30, check=True
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()][-2:] == ["draining", "stopped"]
