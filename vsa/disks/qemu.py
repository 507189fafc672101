"""qemu-nbd as a child: it opens an image, we speak NBD with it over one connection, and it ends with that connection.

The connection is made before the child starts, on a socket in a directory of our own that is gone again when the child
has its end of it: nobody else can connect, and nothing is left behind. qemu-nbd ends when its last client goes, so
however this process dies the child dies as well.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from runtime.clock import Clock
from vsa.faults import ImageLocked, ImageMalformed, NbdLost, QemuFailed, QemuMissing
from vsa.nbd.client import TIMEOUT_SECONDS, open_export
from vsa.nbd.stream import PlainStream
from vsa.nbd.url import parse_nbd_url

_URL = parse_nbd_url("nbd+unix:///?socket=qemu-nbd")
# LISTEN_PID must be the number of the process that takes the socket, as descriptor 3
_TAKE_SOCKET = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&0 </dev/null'
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_LOWEST_FD = 10
_SAID_MAX_BYTES = 4096
_CHECK_ERRORS = 2
_CHECK_GOOD = (0, 3, 63)  # nothing found, only lost clusters, or a format that cannot be checked
_FAULTS = (
    (re.compile(r"Failed to get .*lock|another process using"), ImageLocked),
    (re.compile(r"not in \w+ format|[Ii]nvalid|[Cc]orrupt|[Uu]nsupported"), ImageMalformed),
    (re.compile(r"Could not read|too (small|big|large)|log that needs"), ImageMalformed),
)


def program(name: str) -> str:
    """Where a program of qemu lies. Raises QemuMissing."""
    found = shutil.which(name)
    if found is None:
        raise QemuMissing(f"{name}: not found in PATH; images that are not raw need it")
    return found


def open_for_child(path: Path, flags: int) -> int:
    """A descriptor that a child can be given: above those that it has of its own. Raises OSError."""
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LOWEST_FD)
    finally:
        os.close(fd)


def run(arguments: Sequence[str | Path], fds: Sequence[int] = ()) -> None:
    """Run a program of qemu to its end. Raises QemuMissing, QemuFailed, and what its message means."""
    command = [program(str(arguments[0])), *map(str, arguments[1:])]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=fds, env=_ENVIRONMENT, check=False
    )
    if done.returncode:
        raise _fault(str(arguments[0]), done.stderr[-_SAID_MAX_BYTES:])


def check(name: str, node: dict[str, Any], fds: Sequence[int]) -> None:
    """Have qemu look at what an image says about itself, without what it builds on.

    Reading tells nothing of an image that was cut off: what lies beyond its end would read as zeros. Raises
    ImageMalformed, ImageLocked, QemuMissing, QemuFailed.
    """
    command = [program("qemu-img"), "check", "json:" + json.dumps({**node, "read-only": True})]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=fds, env=_ENVIRONMENT, check=False
    )
    if done.returncode == _CHECK_ERRORS:
        found = done.stdout[-_SAID_MAX_BYTES:] + done.stderr[:_SAID_MAX_BYTES]
        first = next(iter(found.decode("utf-8", "replace").strip().splitlines()), "")
        raise ImageMalformed(f"{name}: qemu-img check finds errors: {ascii(first)[1:-1]}")
    if done.returncode not in _CHECK_GOOD:
        raise _fault(name, done.stderr[-_SAID_MAX_BYTES:])


class QemuNbd:
    """A running qemu-nbd and the connection to it."""

    def __init__(
        self, name: str, node: dict[str, Any], fds: Sequence[int], clock: Clock, *, writable: bool, snapshot: str = ""
    ) -> None:
        """Open `node`, as `blockdev-add` of qemu takes it, with the descriptors that it names.

        `name` is the image's, for faults; `snapshot` as `--load-snapshot` takes it. Raises QemuMissing, QemuFailed,
        ImageLocked, ImageMalformed.
        """
        self._name = name
        command = [program("qemu-nbd"), "--shared=1", "--aio=threads", "--discard=unmap"]
        command += [] if writable else ["--read-only"]
        command += [f"--load-snapshot={snapshot}"] if snapshot else []
        command += ["json:" + json.dumps(node)]
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 # open as long as the child runs
        connection, self._process = self._start(command, fds)
        try:
            self.client = open_export(PlainStream(connection, name, TIMEOUT_SECONDS, clock), _URL)
        except NbdLost as lost:
            raise self._ended() from lost
        except BaseException:
            self._process.kill()
            self._reap()
            raise

    def _start(self, command: list[str], fds: Sequence[int]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        connection = socket.socket(socket.AF_UNIX)
        # Until both have agreed, a connection that ends does not end the child. The signal comes when the thread that
        # started the child ends, so only the main thread may ask for it.
        if threading.current_thread() is threading.main_thread() and (setpriv := shutil.which("setpriv")):
            command = [setpriv, "--pdeathsig", "TERM", *command]
        try:
            with (
                tempfile.TemporaryDirectory(prefix="ingot-") as directory,  # only we may enter it
                socket.socket(socket.AF_UNIX) as listening,
            ):
                listening.bind(f"{directory}/nbd")
                listening.listen(1)
                connection.connect(f"{directory}/nbd")
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _TAKE_SOCKET, "sh", *command],
                    stdin=listening.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=self._said,
                    pass_fds=fds,
                    env=_ENVIRONMENT,
                    process_group=0,  # Ctrl-C is for us; the child ends when we are done
                )
        except BaseException:
            connection.close()
            self._said.close()
            raise
        return connection, process

    def close(self, *, kill: bool = False) -> None:
        """Disconnect and wait until the child has ended, or `kill` it. May be called twice.

        Raises QemuFailed when it does not end well.
        """
        if self._said.closed:
            return
        if kill:
            self._process.kill()
        self.client.close()
        try:
            code = self._process.wait(TIMEOUT_SECONDS)
        except BaseException as error:
            self._process.kill()
            self._reap()
            if isinstance(error, subprocess.TimeoutExpired):
                raise QemuFailed(f"{self._name}: qemu-nbd did not end in {TIMEOUT_SECONDS:g} seconds") from error
            raise
        said = self._reap()
        if code and not kill:
            raise _fault(self._name, said)

    def _ended(self) -> ImageLocked | ImageMalformed | QemuFailed:
        """Why the child ended before it spoke."""
        try:
            self._process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return _fault(self._name, self._reap())

    def _reap(self) -> bytes:
        self._process.wait()
        self._said.seek(0)
        said = self._said.read(_SAID_MAX_BYTES)
        self._said.close()
        return said


def _fault(name: str, said: bytes) -> ImageLocked | ImageMalformed | QemuFailed:
    """The fault that a message of qemu means. The message holds what an image says, so it is quoted."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    text = (
        " / ".join(ascii(re.sub(r"json:\{.*\}", "the image", line))[1:-1] for line in lines[-3:]) or "it said nothing"
    )
    kind = next((kind for pattern, kind in _FAULTS if pattern.search(text)), QemuFailed)
    return kind(f"{name}: {text}")
