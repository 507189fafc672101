"""The life of a daemon: ready, watched, drained.

    starting --ready--> running --SIGTERM, SIGINT--> draining --all work ended, or the time is over--> stopped

Speaks systemd's notification protocol (sd_notify(3)) where NOTIFY_SOCKET names a socket, and says nothing elsewhere.
A second signal while draining ends the process at once.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import types
from collections.abc import Callable
from contextlib import suppress

from runtime.clock import Clock
from runtime.logs import log

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOK_SECONDS = 1.0


def notify(state: str) -> None:
    """Tell the service manager, if there is one. Never raises: a daemon must not die of its manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.connect(address)
        line.sendall(state.encode())


class Life:
    """One for each process, made in its main thread."""

    def __init__(self, clock: Clock, end: Callable[[int], None] = os._exit) -> None:
        self._clock = clock
        self._end = end
        self._draining = threading.Event()
        self._parent = os.getppid()
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
        self._watchdog_seconds = microseconds / 1e6 / 3 if microseconds else None

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Begin to stop."""
        self._draining.set()

    def run(self, healthy: Callable[[], bool], *, ends_with_parent: bool = False) -> None:
        """Say that the daemon is ready, and wait for the end. `healthy` feeds the watchdog: False starves it.

        With `ends_with_parent` the daemon drains when whoever started it is gone.
        """
        for number in _SIGNALS:
            signal.signal(number, self._signalled)  # for good: a second signal ends a drain that hangs
        notify("READY=1")
        log().info("ready")
        fed_at = self._clock.monotonic_seconds()
        while not self._draining.wait(LOOK_SECONDS):
            if ends_with_parent and os.getppid() != self._parent:
                log().warning("parent gone")
                break
            now = self._clock.monotonic_seconds()
            if self._watchdog_seconds is not None and now - fed_at >= self._watchdog_seconds and healthy():
                notify("WATCHDOG=1")
                fed_at = now
        self._draining.set()
        notify("STOPPING=1")
        log().info("draining")

    def _signalled(self, number: int, _frame: types.FrameType | None) -> None:
        if self._draining.is_set():
            self._end(128 + number)
        self._draining.set()
