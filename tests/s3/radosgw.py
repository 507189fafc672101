"""A real S3 server: one monitor, one OSD in memory and one gateway of Ceph, on the loopback.

Debian's packages ceph-mon, ceph-osd and radosgw. It checks signatures, honours conditions and versions, and enforces
policies and Object Lock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.s3.certificates import write_certificate
from tests.s3.processes import free_ports, is_open, start, stop

ACCESS_KEY, SECRET_KEY = "INGOTTESTS", "a/secret+of+the/tests"
OTHER_ACCESS_KEY, OTHER_SECRET_KEY = "SOMEBODYELSE", "another/secret+of+the/tests"  # who owns no bucket here
_PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_READY_SECONDS = 120
_LOOK_SECONDS = 0.1


def is_installed() -> bool:
    """Whether the programs are there."""
    return all(shutil.which(program) for program in _PROGRAMS)


class RadosGateway:
    """Started when made; `stop` ends it, and so does the end of this process."""

    def __init__(self, directory: Path, device_bytes: int = 2 << 30) -> None:
        self._directory = directory
        self._device_bytes = device_bytes
        self._processes: list[subprocess.Popen[bytes]] = []
        self._monitor_port, self.http_port, self.https_port = free_ports(3)
        self.ca, self._server_pem = write_certificate(directory)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def https(self) -> str:
        return f"https://127.0.0.1:{self.https_port}"

    def stop(self) -> None:
        while self._processes:
            stop(self._processes.pop())

    def _start(self) -> None:
        for name in ("monitor", "osd", "run"):
            (self._directory / name).mkdir()
        cluster, osd = str(uuid.uuid4()), str(uuid.uuid4())
        (self._directory / "ceph.conf").write_text(self._configuration(cluster))
        self._make_keys()
        monmap = self._directory / "monmap"
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", self._monitor_address(), monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", self._directory / "keyring")
        self._spawn("ceph-mon", "-f", "-i", "a")
        self._wait_for(lambda: is_open(self._monitor_port), "monitor")
        self._run("ceph", "--connect-timeout", "60", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._spawn("ceph-osd", "-f", "-i", "0")
        self._spawn("radosgw", "-f", "-n", "client.gateway")
        self._wait_for(lambda: is_open(self.http_port) and is_open(self.https_port), "gateway")
        for user, access, secret in (
            ("tests", ACCESS_KEY, SECRET_KEY),
            ("somebody", OTHER_ACCESS_KEY, OTHER_SECRET_KEY),
        ):
            self.add_user(user, access, secret)

    def add_user(self, user: str, access_key: str, secret_key: str) -> None:
        """Somebody with one key, who owns nothing yet."""
        self._administer("user", "create", user, access_key, "--secret-key", secret_key, "--display-name", user)

    def add_key(self, user: str, access_key: str, secret_key: str) -> None:
        self._administer("key", "create", user, access_key, "--secret-key", secret_key)

    def remove_key(self, user: str, access_key: str) -> None:
        self._administer("key", "rm", user, access_key)

    def _administer(self, what: str, how: str, user: str, access_key: str, *more: str) -> None:
        who = ("--uid", user, "--access-key", access_key)
        self._run("radosgw-admin", "-n", "client.gateway", what, how, *who, *more)

    def _monitor_address(self) -> str:
        return f"[v2:127.0.0.1:{self._monitor_port}]"

    def _make_keys(self) -> None:
        keyring = self._directory / "keyring"
        self._run("ceph-authtool", "--create-keyring", keyring)
        for name, capabilities in (
            ("mon.", {"mon": "allow *"}),
            ("client.admin", {"mon": "allow *", "osd": "allow *"}),
            ("client.gateway", {"mon": "allow *", "osd": "allow *"}),
            ("osd.0", {"mon": "allow profile osd", "osd": "allow *"}),
        ):
            given = [word for capability in capabilities.items() for word in ("--cap", *capability)]
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *given)

    def _configuration(self, cluster: str) -> str:
        here = self._directory
        plain, sealed = f"127.0.0.1:{self.http_port}", f"127.0.0.1:{self.https_port}"
        listening = f"endpoint={plain} ssl_endpoint={sealed} ssl_certificate={self._server_pem} tcp_nodelay=1"
        return f"""
[global]
fsid = {cluster}
mon host = {self._monitor_address()}
mon initial members = a
keyring = {here}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {here}/run
admin socket = {here}/run/$name.$pid.asok
log to file = false
mon cluster log to file = false
log to stderr = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon max pg per osd = 2000
mon allow pool size one = true
[mon]
mon data = {here}/monitor
[osd]
osd data = {here}/osd
osd objectstore = memstore
memstore device bytes = {self._device_bytes}
[client.gateway]
rgw data = {here}/run
rgw enable apis = s3
rgw gc obj min wait = 2
rgw gc processor period = 2
rgw override bucket index max shards = 1
rgw frontends = beast {listening}
"""

    def _environment(self) -> dict[str, str]:
        """Debian's `ceph` is a Python program, and needs Debian's Python."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "CEPH_CONF": str(self._directory / "ceph.conf"),
            "PATH": f"/usr/bin:/usr/sbin:/bin:{os.environ['PATH']}",
        }

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=_READY_SECONDS, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def _spawn(self, program: str, *arguments: str) -> None:
        command = ["env", f"CEPH_CONF={self._directory}/ceph.conf", program, *arguments]
        self._processes.append(start(command, self._directory / f"{program}.log"))

    def _wait_for(self, ready: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _READY_SECONDS
        while not ready():
            dead = [process.args for process in self._processes if process.poll() is not None]
            assert not dead, f"{dead}: ended; see {self._directory}"
            assert time.monotonic() < end, f"{what}: does not listen; see {self._directory}"
            with suppress(subprocess.TimeoutExpired):  # it tells nobody when it is ready, only when it is over
                self._processes[-1].wait(_LOOK_SECONDS)
