"""`nbdkit vddk`: a child for each disk, which loads the customer's own VDDK, behind a Unix socket that only we reach.

The library never comes into our process: it brings its own OpenSSL. The password goes through a pipe, so no command
line and no file has it. The child ends with us.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from media.faults import DiskResized
from runtime.clock import Clock
from vsa.disks.nbd import NbdDisk
from vsa.disks.nbd_target import NbdOverwritten
from vsa.faults import NbdkitMissing, NbdUnreachable, TransportFailed
from vsa.hypervisors.receiving import OpenTarget
from vsa.hypervisors.vcenter.transport import DiskPlace, OpenDisk
from vsa.nbd.client import NbdClient, connect
from vsa.nbd.url import parse_nbd_url

_START_SECONDS = 60.0  # login at the vCenter, and opening the disk through it
_LOOK_SECONDS = 0.02
_END_SECONDS = 30.0
_SAID_MAX_BYTES = 8192
_SAID_LINES = 3


@dataclass(frozen=True)
class Vddk:
    """Where VDDK is, and how it logs in. `thumbprint` is the SHA-1 of the vCenter's certificate, as VDDK wants it."""

    program: str
    directory: str
    server: str
    port: int
    user: str
    password: str
    thumbprint: str


class NbdkitTransport:
    """Starts a child for each disk."""

    name = "nbd (nbdkit vddk)"

    def __init__(self, vddk: Vddk, clock: Clock) -> None:
        self._vddk = vddk
        self._clock = clock

    def unfit(self, place: DiskPlace) -> str | None:
        return None if place.file else "its backing is no file"

    def open(self, place: DiskPlace) -> OpenDisk:
        child = _Child(self._vddk, place)
        try:
            disk = _ChildDisk(child.connect(self._clock), place.file, child)
        except BaseException:
            child.end()
            raise
        if disk.size != place.size:
            disk.close()
            raise DiskResized(f"{place.file}: expected {place.size} bytes, found {disk.size}")
        return disk

    def overwrite(self, place: DiskPlace, *, reads_zero: bool) -> OpenTarget:
        child = _Child(self._vddk, place, writes=True)
        try:
            client = child.connect(self._clock)
            return _ChildTarget(client, place, child, reads_zero=reads_zero)
        except BaseException:
            child.end()
            raise


class _ChildTarget(NbdOverwritten):
    """Closing it ends its child, which then has let go of the disk."""

    def __init__(self, client: NbdClient, place: DiskPlace, child: _Child, *, reads_zero: bool) -> None:
        super().__init__(client, place.file, place.size, reads_zero=reads_zero)
        self._child = child

    def close(self) -> None:
        super().close()
        self._child.end()


class _ChildDisk(NbdDisk):
    """Closing it ends its child."""

    def __init__(self, client: NbdClient, name: str, child: _Child) -> None:
        super().__init__(client, name)
        self._child = child

    def close(self) -> None:
        super().close()
        self._child.end()


class _Child:
    """One nbdkit, its directory, and what it says."""

    def __init__(self, vddk: Vddk, place: DiskPlace, *, writes: bool = False) -> None:
        self._name = place.file
        self._directory = tempfile.TemporaryDirectory(prefix="ingot-")  # only we may enter it
        self._socket = Path(self._directory.name) / "nbd"
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 # open as long as the child runs
        self._ending = threading.Lock()
        reading, writing = os.pipe()
        try:
            os.write(writing, vddk.password.encode() + b"\n")  # a pipe takes 64 KiB without a reader
            os.close(writing)
            self._process = subprocess.Popen(
                command(vddk, place, self._socket, reading, writes=writes),
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=(reading,),
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": "/nonexistent"},
                process_group=0,  # Ctrl-C is for us; the child ends when we are done
            )
        except FileNotFoundError as error:
            self._clean()
            raise NbdkitMissing(f"{vddk.program}: expected nbdkit, found no such program") from error
        except OSError as error:
            self._clean()
            raise TransportFailed(f"{vddk.program}: cannot be run: {error.strerror}") from error
        finally:
            os.close(reading)

    def connect(self, clock: Clock) -> NbdClient:
        """Wait until it serves. Raises TransportFailed with what it said, where it ended or does not."""
        url = parse_nbd_url(f"nbd+unix:///?socket={quote(str(self._socket))}")
        for _ in range(int(_START_SECONDS / _LOOK_SECONDS)):
            try:
                code = self._process.wait(_LOOK_SECONDS)
                raise TransportFailed(f"{self._name}: nbdkit ended with {code}: {self._words()}")
            except subprocess.TimeoutExpired:
                if self._socket.exists():
                    try:
                        return connect(url, clock)
                    except NbdUnreachable:
                        continue  # the socket is there a moment before somebody listens
        raise TransportFailed(f"{self._name}: nbdkit did not serve in {_START_SECONDS:g} seconds: {self._words()}")

    def end(self) -> None:
        """On return it has ended. May be called twice."""
        with self._ending:
            if self._said.closed:
                return
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._clean()

    def _clean(self) -> None:
        self._said.close()
        self._directory.cleanup()

    def _words(self) -> str:
        self._said.seek(0)
        lines = self._said.read(_SAID_MAX_BYTES).decode("utf-8", "replace").strip().splitlines()
        return " / ".join(ascii(line)[1:-1] for line in lines[-_SAID_LINES:]) or "it said nothing"


def command(vddk: Vddk, place: DiskPlace, socket: Path, password_fd: int, *, writes: bool = False) -> list[str]:
    """What is run. Whoever lists processes sees it."""
    return [
        vddk.program,
        "--exit-with-parent",
        "--foreground",
        *([] if writes else ["--readonly"]),
        "--unix",
        str(socket),
        "vddk",
        f"vm=moref={place.machine}",
        *([f"snapshot={place.snapshot}"] if place.snapshot else []),
        f"file={place.file}",
        f"server={vddk.server}",
        f"port={vddk.port}",
        f"user={vddk.user}",
        f"password=-{password_fd}",
        f"thumbprint={vddk.thumbprint}",
        f"libdir={vddk.directory}",
    ]
