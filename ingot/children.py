"""Child processes that are kept running: started, started again when they die, and stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.clock import Clock

_AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # before a child that died is started again
_WELL_SECONDS = 60.0  # a child that lived so long begins with the first of these again
STOP_SECONDS = 330.0  # a little more than a service gives its work


class Child:
    """One program, kept running by a thread from `start` to `stop`."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, clock: Clock, died: Callable[[str, int], None]
    ) -> None:
        """What it says goes to the end of `log`. `died` hears of every end that nobody asked for."""
        self.name = name
        self._command = list(command)
        self._log = log
        self._clock = clock
        self._died = died
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"child-{name}", daemon=True)

    def start(self) -> None:
        """May be called once."""
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it as a service manager would: SIGTERM, and SIGKILL for one that does not listen."""
        self._stop.set()
        with self._lock:
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)
        self._thread.join(seconds)
        if self._thread.is_alive():
            with self._lock:
                if self._process is not None:
                    self._process.kill()
            self._thread.join()

    def _keep(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = self._clock.monotonic_seconds()
            code = self._run()
            if self._stop.is_set():
                return
            failures = 0 if self._clock.monotonic_seconds() - began >= _WELL_SECONDS else failures
            self._died(self.name, code)
            self._stop.wait(_AGAIN_SECONDS[min(failures, len(_AGAIN_SECONDS) - 1)])
            failures += 1

    def _run(self) -> int:
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with self._lock:
                if self._stop.is_set():
                    return 0
                # Its own session: Ctrl-C is for the supervisor, which ends its children in order.
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, start_new_session=True
                )
        finally:
            os.close(fd)
        code = self._process.wait()
        with self._lock:
            self._process = None
        return code
