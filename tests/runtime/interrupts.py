"""Interrupts of the main thread, sent by other threads at a moment of their choice."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Use `interrupting`."""

    def __init__(self) -> None:
        self._seen: queue.SimpleQueue[None] = queue.SimpleQueue()

    def handle(self, number: int, frame: FrameType | None) -> None:
        self._seen.put(None)
        raise KeyboardInterrupt

    def send(self) -> None:
        """Interrupt the main thread; returns when it handles that."""
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        self._seen.get()


@contextmanager
def interrupting() -> Iterator[Interrupts]:
    """Inside, interrupts can be sent to this thread, which is the main one."""
    interrupts = Interrupts()
    before = signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
