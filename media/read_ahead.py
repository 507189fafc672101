"""Read-ahead: notices who reads in sequence, and asks for what comes next before they do.

Several readers at a time, each a stream of its own. The first read of a stream asks for nothing. From the second on, an
ever longer window of data is asked for; the reader who enters the last window asks for the next. Only reads that miss
the cache, and those that enter a window, come here: a hit costs one lookup of `watched`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import NamedTuple

_FIRST_WINDOW_BYTES = 1 << 20
_STREAMS_MAX = 16
_SLACK_BYTES = 1 << 20  # pipelined reads of one sequence come a little out of order


class Window(NamedTuple):
    """What was asked for: the offset of its first chunk, and where the next window begins."""

    first: int
    end: int


@dataclass
class _Stream:
    """`position` is where it was seen last, `end` how far was asked for, `watched` the offset that asks for more."""

    position: int
    end: int
    watched: int
    window_bytes: int = _FIRST_WINDOW_BYTES
    asking: bool = False


class ReadAhead:
    """Of one disk. Safe to use from several threads.

    `load(offset, data_bytes)` begins to load so much data at or after `offset`, holes not counted; None when there is
    no more. It may take long, so `background` runs it. Windows of all streams together are `most_bytes` at most.
    """

    def __init__(
        self,
        load: Callable[[int, int], Window | None],
        background: Callable[[Callable[[], None]], object],
        most_bytes: int,
    ) -> None:
        self._load = load
        self._background = background
        self._most_bytes = most_bytes
        self._streams: list[_Stream] = []  # seen last: at the end
        self._watched: dict[int, _Stream] = {}
        self._lock = threading.Lock()

    @property
    def watched(self) -> Container[int]:
        """The offsets of chunks whose reader should be told of with `saw`."""
        return self._watched

    def saw(self, offset: int, end: int) -> None:
        """Somebody reads [offset, end), and it was not here, or `offset` is watched."""
        with self._lock:
            stream = self._stream_at(offset)
            if stream is None:
                self._begin(_Stream(end, end, offset))
                return
            self._streams.remove(stream)
            self._streams.append(stream)
            stream.position = end
            if stream.asking or offset < stream.watched:
                return
            stream.asking = True
            stream.end = max(stream.end, end)
            self._watched.pop(stream.watched, None)
        self._background(lambda: self._ask(stream))

    def _stream_at(self, offset: int) -> _Stream | None:
        for stream in reversed(self._streams):
            if stream.position - _SLACK_BYTES <= offset <= max(stream.end, stream.position) + _SLACK_BYTES:
                return stream
        return None

    def _begin(self, stream: _Stream) -> None:
        self._streams.append(stream)
        if len(self._streams) > _STREAMS_MAX:
            oldest = self._streams.pop(0)
            self._watched.pop(oldest.watched, None)

    def _ask(self, stream: _Stream) -> None:
        """Ask for the next window. What the place does is for the reader to meet, who asks again."""
        window = self._load(stream.end, stream.window_bytes)
        with self._lock:
            stream.asking = False
            if window is None:
                return
            stream.end = window.end
            stream.watched = window.first
            if stream in self._streams:
                self._watched[window.first] = stream
            stream.window_bytes = min(2 * stream.window_bytes, self._most_bytes // max(1, len(self._watched)))
