"""A line between this network namespace and another: so long, so narrow, and cut when a test says so.

Two TUN devices, one here and one in a namespace of its own, and a thread that carries packets between them. A packet
that is dropped is lost as on a real line: nobody is told, connections stay half open, TCP sends again. Time on the way
comes from the kernel's netem where it has one, else from the thread.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

from runtime.clock import SystemClock

NEAR, FAR = "10.213.77.1", "10.213.77.2"  # the ends' addresses: one line at a time
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKET_BYTES = 2048
_QUEUE_SECONDS = 0.5  # of what waits for a narrow line; what comes then is dropped
_LOOK_SECONDS = 0.2


class NotPossible(Exception):
    """There can be no other namespace here; says why."""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPossible(f"{' '.join(command)}: {done.stderr.strip()}")


def _tun(name: str) -> int:
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotPossible(f"/dev/net/tun: {error.strerror}") from error
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(fd)
        raise NotPossible(f"a TUN device: {error.strerror}; it takes root") from error
    return fd


class Line:
    """`delay_ms` is the way there and back. Both ways have the same width; 0 is any."""

    def __init__(self, name: str, near: int, far: int) -> None:
        self.inside = ("ip", "netns", "exec", name)  # before a command that shall run at the far end
        self.bytes_per_second = 0
        self.carried = 0  # bytes, both ways
        self._name = name
        self._ends = {near: far, far: near}
        self._delay_seconds = 0.0
        self._cut = False
        self._stop = threading.Event()
        self._clock = SystemClock()
        self._thread = threading.Thread(target=self._carry, name="line", daemon=True)
        self._thread.start()

    def stretch(self, delay_ms: int) -> None:
        """From now on so long."""
        half = f"{delay_ms // 2}ms"
        netem = ("root", "netem", "limit", "100000", "delay", half)
        try:
            _run("tc", "qdisc", "replace", "dev", self._name, *netem)
            _run(*self.inside, "tc", "qdisc", "replace", "dev", "far", *netem)
        except (NotPossible, FileNotFoundError):  # a kernel without netem
            self._delay_seconds = delay_ms / 2000

    def cut(self) -> None:
        """Every packet is lost from now on, silently."""
        self._cut = True

    def mend(self) -> None:
        self._cut = False

    def unplug(self) -> None:
        """The near end has no line any more, and knows it."""
        _run("ip", "link", "set", "dev", self._name, "down")

    def plug(self) -> None:
        _run("ip", "link", "set", "dev", self._name, "up")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _carry(self) -> None:
        on_the_way: list[tuple[float, int, int, bytes]] = []
        number, free_at = count(), dict.fromkeys(self._ends, 0.0)
        while not self._stop.is_set():
            now = self._clock.monotonic_seconds()
            while on_the_way and on_the_way[0][0] <= now:
                _, _, fd, packet = heapq.heappop(on_the_way)
                self._arrive(fd, packet)
            wait = min(_LOOK_SECONDS, on_the_way[0][0] - now) if on_the_way else _LOOK_SECONDS
            for fd in select.select(list(self._ends), [], [], max(0.0, wait))[0]:
                packet = self._taken(fd)
                now = self._clock.monotonic_seconds()
                free_at[fd] = max(free_at[fd], now)
                if packet and not self._cut and free_at[fd] - now < _QUEUE_SECONDS:
                    free_at[fd] += len(packet) / self.bytes_per_second if self.bytes_per_second else 0.0
                    due = free_at[fd] + self._delay_seconds
                    heapq.heappush(on_the_way, (due, next(number), self._ends[fd], packet))

    def _taken(self, fd: int) -> bytes:
        try:
            return os.read(fd, _PACKET_BYTES)
        except OSError:  # its device is down
            return b""

    def _arrive(self, fd: int, packet: bytes) -> None:
        try:
            self.carried += os.write(fd, packet)
        except OSError:  # its device is down, or its queue full: lost
            return


@contextmanager
def long_line() -> Iterator[Line]:
    """A line to a namespace of its own. Raises NotPossible."""
    name = f"ingot{os.getpid()}"
    with ExitStack() as stack:
        near, far = _tun(name), -1
        stack.callback(os.close, near)
        try:
            _run("ip", "netns", "add", name)
        except FileNotFoundError as error:
            raise NotPossible("there is no `ip`: iproute2 is not installed") from error
        stack.callback(subprocess.run, ["ip", "netns", "delete", name], check=False)
        far = _tun("far" + name[5:])
        stack.callback(os.close, far)
        _run("ip", "link", "set", "dev", "far" + name[5:], "netns", name, "name", "far")
        inside = ("ip", "netns", "exec", name)
        for where, device, here, there in (((), name, NEAR, FAR), (inside, "far", FAR, NEAR)):
            _run(*where, "ip", "address", "add", here, "peer", there, "dev", device)
            _run(*where, "ip", "link", "set", "dev", device, "up")
        _run(*inside, "ip", "link", "set", "dev", "lo", "up")
        line = Line(name, near, far)
        stack.callback(line.close)
        yield line
