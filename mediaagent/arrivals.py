"""The containers of one session that are on their way here.

nothing --stream--> arriving --stream ends whole, kept--> whole
                     |    ^
           stream broke  another stream goes on where it was
                     v    |
                     waiting --its buffer was needed--> nothing
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from media.ids import cid_text
from mediaagent.buffers import Buffers
from mediaagent.faults import ContainerRefused, StreamBroken
from proto.channels import Caller

_MOST_ARRIVING = 64  # of one session; a right writer has a few

Keep = Callable[[int, memoryview], None]


@dataclass
class _Arrival:
    size: int
    buffer: memoryview | None = None
    bytes: int = 0
    lent: int | None = None
    stream: object = None  # whose bytes count: a stream that was given up may still have some to say
    lock: threading.Lock = field(default_factory=threading.Lock)


class Arrivals:
    """Safe to use from several threads. `keep` verifies a container and makes it durable."""

    def __init__(self, most_bytes: int, buffers: Buffers, caller: Caller, keep: Keep) -> None:
        self._most_bytes = most_bytes
        self._caller = caller
        self._buffers = buffers
        self._keep = keep
        self._arriving: dict[int, _Arrival] = {}
        self._whole: set[int] = set()
        self._lock = threading.Lock()

    def received(self, cid: int) -> tuple[int, bool]:
        """How many bytes of a container are here, and whether it is kept."""
        with self._lock:
            arrival = self._arriving.get(cid)
            return (arrival.bytes if arrival else 0), cid in self._whole

    def receive(self, cid: int, size: int, offset: int, messages: Iterator[bytes], moved: Callable[[], None]) -> None:
        """Take a container's bytes from `offset` on; on return it is kept. `moved` is called with every message.

        Raises StreamBroken (ask what was received and go on there), ContainerRefused, PeerBusy, and what `keep` raises.
        """
        if not 0 < size <= self._most_bytes:
            raise ContainerRefused(f"{cid_text(cid)}: of {size} bytes, expected up to {self._most_bytes}")
        with self._lock:
            if cid in self._whole:
                return
            arrival = self._arriving.setdefault(cid, _Arrival(size))
            if len(self._arriving) > _MOST_ARRIVING:
                del self._arriving[cid]
                raise ContainerRefused(f"{cid_text(cid)}: more than {_MOST_ARRIVING} containers on their way at once")
        stream = object()
        with arrival.lock:
            self._attach(arrival, cid, size, offset, stream)
        try:
            self._take(arrival, cid, offset, stream, messages, moved)
            with arrival.lock:
                self._finish(arrival, cid, stream)
        except BaseException:
            with arrival.lock:
                self._detach(arrival, cid, stream)
            raise

    def _attach(self, arrival: _Arrival, cid: int, size: int, offset: int, stream: object) -> None:
        if arrival.size != size:
            raise ContainerRefused(f"{cid_text(cid)}: of {size} bytes, its stream before said {arrival.size}")
        if arrival.lent is not None and not self._buffers.reclaim(arrival.lent):
            arrival.buffer, arrival.bytes = None, 0
        arrival.lent = None
        if arrival.buffer is None and not self._is_whole(cid):
            arrival.bytes = 0
            arrival.buffer = self._buffers.take(self._caller)
        arrival.stream = stream
        if offset > arrival.bytes and not self._is_whole(cid):
            self._detach(arrival, cid, stream)
            raise StreamBroken(f"{cid_text(cid)}: a stream from {offset} on, only {arrival.bytes} bytes are here")

    def _is_whole(self, cid: int) -> bool:
        with self._lock:
            return cid in self._whole

    def _take(
        self,
        arrival: _Arrival,
        cid: int,
        at: int,
        stream: object,
        messages: Iterator[bytes],
        moved: Callable[[], None],
    ) -> None:
        for message in messages:
            moved()
            with arrival.lock:
                if arrival.stream is not stream or arrival.buffer is None:
                    raise StreamBroken(f"{cid_text(cid)}: another stream took over at {at}")
                end = at + len(message)
                if end > arrival.size:
                    raise ContainerRefused(f"{cid_text(cid)}: {end} bytes came, {arrival.size} were announced")
                arrival.buffer[at:end] = message
                arrival.bytes = max(arrival.bytes, end)
                at = end

    def _finish(self, arrival: _Arrival, cid: int, stream: object) -> None:
        if self._is_whole(cid):
            return
        if arrival.stream is not stream or arrival.buffer is None:
            raise StreamBroken(f"{cid_text(cid)}: another stream took over")
        if arrival.bytes < arrival.size:
            raise StreamBroken(f"{cid_text(cid)}: its stream ended after {arrival.bytes} of {arrival.size} bytes")
        self._keep(cid, arrival.buffer[: arrival.size])
        with self._lock:
            self._whole.add(cid)
            self._arriving.pop(cid, None)
        self._buffers.give(arrival.buffer, self._caller)
        arrival.buffer = None

    def _detach(self, arrival: _Arrival, cid: int, stream: object) -> None:
        """The stream is over: what it brought waits for the next."""
        if arrival.stream is stream and arrival.buffer is not None:
            arrival.stream = None
            arrival.lent = self._buffers.lend(arrival.buffer, self._caller, lambda: self._lost(arrival, cid))

    def _lost(self, arrival: _Arrival, cid: int) -> None:
        with self._lock:
            if self._arriving.get(cid) is arrival:
                arrival.bytes = 0

    def close(self) -> None:
        """Nothing more is kept: give the buffers back. No stream runs any more."""
        with self._lock:
            arrivals, self._arriving = list(self._arriving.values()), {}
        for arrival in arrivals:
            with arrival.lock:
                if arrival.buffer is not None and (arrival.lent is None or self._buffers.reclaim(arrival.lent)):
                    self._buffers.give(arrival.buffer, self._caller)
                arrival.buffer = arrival.lent = arrival.stream = None
