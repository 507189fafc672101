"""Streams that do not move are given up: a peer that is slow for good must not hold a thread and a buffer for good."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from runtime.clock import Clock
from runtime.logs import log


class Watched:
    """One stream; `moved` with every message."""

    def __init__(self, context: grpc.ServicerContext, clock: Clock) -> None:
        self.context = context
        self._clock = clock
        self.moved_at = clock.monotonic_seconds()

    def moved(self) -> None:
        """It moved just now."""
        self.moved_at = self._clock.monotonic_seconds()


class Watchdog:
    """Safe to use from several threads. `look` is called every second or so, by `start`'s thread or a test."""

    def __init__(self, clock: Clock, patience_seconds: float) -> None:
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._streams: set[Watched] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def watch(self, context: grpc.ServicerContext) -> Iterator[Watched]:
        """While inside, the call is cancelled when it does not move."""
        stream = Watched(context, self._clock)
        with self._lock:
            self._streams.add(stream)
        try:
            yield stream
        finally:
            with self._lock:
                self._streams.discard(stream)

    def look(self) -> int:
        """Cancel what did not move; how many that were."""
        late = self._clock.monotonic_seconds() - self._patience_seconds
        with self._lock:
            stalled = [stream for stream in self._streams if stream.moved_at < late]
            self._streams.difference_update(stalled)
        for stream in stalled:
            log().warning("stream stalled", peer=stream.context.peer(), seconds=self._patience_seconds)
            stream.context.cancel()
        return len(stalled)
