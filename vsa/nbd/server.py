"""A read-only NBD server: sockets, and whose turn it is.

One thread talks to all clients and never waits for one of them; what takes waiting for the repository is done by a few
others. So a client that is slow, silent or hostile costs its own connection: its buffers are bounded, and it loses its
place when it does not finish the handshake in time.
"""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

from runtime.clock import Clock
from vsa.faults import NbdMalformed
from vsa.nbd.exports import Export, Exports
from vsa.nbd.negotiation import Negotiation
from vsa.nbd.transmission import Answered, Job, Pieces, Transmission

_CONNECTIONS_MAX = 64
_READERS = 32  # requests that wait for the repository at the same time
_BUFFER_BYTES = 64 << 10  # two thousand requests
_UNSENT_MAX_BYTES = 4 << 20
_VECTOR_MAX = 1024  # pieces that the system takes in one call
_HANDSHAKE_SECONDS = 20.0
_LOOK_SECONDS = 1.0  # how often handshakes are looked at
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

OnFault = Callable[[Export, Exception], None]


class _Done(NamedTuple):
    connection: _Connection
    job: Job
    answered: Answered


class Server:
    """Serves `exports` on listening sockets; a context, which closes every socket, the listening ones too.

    `on_fault` is told what reads met, in the serving thread.
    """

    def __init__(self, exports: Iterable[Export], listeners: Iterable[socket.socket], clock: Clock, on_fault: OnFault):
        self.exports = Exports({export.name: export for export in exports})
        self._clock = clock
        self._on_fault = on_fault
        self._listeners = list(listeners)
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._readers = ThreadPoolExecutor(_READERS, "nbd")
        self._done: deque[_Done] = deque()
        self._wake, self._woken = socket.socketpair()
        self._stopped = False

    def serve(self) -> None:
        """Until `stop`, or until an interrupt is raised here."""
        for each in (*self._listeners, self._woken, self._wake):
            each.setblocking(False)
        for listener in self._listeners:
            self._selector.register(listener, _READ, lambda _, each=listener: self._accept(each))
        self._selector.register(self._woken, _READ, lambda _: self._finish_jobs())
        while not self._stopped:
            for key, events in self._selector.select(_LOOK_SECONDS):
                key.data(events)
            self._drop_the_slow()

    def stop(self) -> None:
        """From any thread."""
        self._stopped = True
        self._rouse()

    def submit(self, connection: _Connection, job: Job) -> None:
        """Have a reader do a job."""
        self._readers.submit(self._do, connection, job)

    def watch(self, connection: _Connection, events: int) -> None:
        """Be told of these events from now on; none of them is fine too."""
        if events == connection.watched:
            return
        if not connection.watched:
            self._selector.register(connection.socket, events, connection.ready)
        elif events:
            self._selector.modify(connection.socket, events, connection.ready)
        else:
            self._selector.unregister(connection.socket)
        connection.watched = events

    def forget(self, connection: _Connection) -> None:
        """It is closed."""
        self._connections.discard(connection)

    def now(self) -> float:
        return self._clock.monotonic_seconds()

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # gone before it was met, or too many files are open
            return
        if len(self._connections) >= _CONNECTIONS_MAX and not self._made_room():
            client.close()
            return
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(self, client)
        self._connections.add(connection)
        connection.begin()

    def _made_room(self) -> bool:
        """The client that takes longest over its handshake goes, if there is one: whoever opens connections and says
        nothing keeps nobody out.
        """
        shaking = [each for each in self._connections if each.transmission is None]
        if shaking:
            min(shaking, key=lambda each: each.began_at).close()
        return bool(shaking)

    def _do(self, connection: _Connection, job: Job) -> None:
        """In a reader's thread."""
        assert connection.transmission is not None
        self._done.append(_Done(connection, job, connection.transmission.answer(job)))
        self._rouse()

    def _rouse(self) -> None:
        with suppress(OSError):  # full: it is awake; or closed
            self._wake.send(b"\0")

    def _finish_jobs(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(_BUFFER_BYTES)
        while self._done:
            connection, job, answered = self._done.popleft()
            if answered.fault is not None and connection.transmission is not None:
                self._on_fault(connection.transmission.export, answered.fault)
            connection.finish(job, answered.reply)

    def _drop_the_slow(self) -> None:
        for connection in [each for each in self._connections if each.transmission is None]:
            if self.now() - connection.began_at > _HANDSHAKE_SECONDS:
                connection.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self._connections):
            connection.close()
        self._readers.shutdown(cancel_futures=True)
        for each in (*self._listeners, self._wake, self._woken):
            each.close()
        self._selector.close()


class _Connection:
    """One client. Only the serving thread touches it, but for its `transmission`'s jobs."""

    def __init__(self, server: Server, client: socket.socket) -> None:
        self.socket = client
        self.watched = 0
        self.began_at = server.now()
        self.transmission: Transmission | None = None
        self._server = server
        self._negotiation = Negotiation(server.exports)
        self._memory = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._unsent: Pieces = []
        self._unsent_bytes = 0
        self._closed = False

    def begin(self) -> None:
        try:
            self._send([self._negotiation.greeting])
            self._settle()
        except OSError:  # gone already
            self.close()

    def ready(self, events: int) -> None:
        """The socket can be read or written."""
        try:
            if events & _WRITE:
                self._flush()
            if events & _READ and self._filled < _BUFFER_BYTES:
                count = self.socket.recv_into(self._memory[self._filled :])
                if count == 0:
                    self.close()
                    return
                self._filled += count
            self._advance()
        except BlockingIOError:
            return
        except (OSError, NbdMalformed):
            self.close()

    def finish(self, job: Job, reply: Pieces) -> None:
        """A job is done."""
        if self._closed or self.transmission is None:
            return
        self.transmission.done(job)
        try:
            self._send(reply)
            self._advance()
        except (OSError, NbdMalformed):
            self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._server.watch(self, 0)
            self._server.forget(self)
            self.socket.close()

    def _advance(self) -> None:
        """Answer what can be answered."""
        if self.transmission is None:
            self._negotiate()
        while self.transmission is not None and self._unsent_bytes < _UNSENT_MAX_BYTES:
            replies: Pieces = []
            jobs: list[Job] = []
            taken = self.transmission.take(self._memory[: self._filled], replies, jobs)
            if not taken:
                break
            self._filled -= taken
            self._memory[: self._filled] = self._memory[taken : taken + self._filled]
            for job in jobs:
                self._server.submit(self, job)
            if replies:
                self._send(replies)
        self._settle()

    def _negotiate(self) -> None:
        received = bytes(self._memory[: self._filled])
        self._filled = 0
        answer = self._negotiation.received(received)
        if answer:
            self._send([answer])
        if self._negotiation.agreed is not None:
            self.transmission = Transmission(self._negotiation.agreed)
            rest = self._negotiation.rest
            self._memory[: len(rest)] = rest
            self._filled = len(rest)

    def _send(self, pieces: Pieces) -> None:
        waiting = bool(self._unsent)
        self._unsent += pieces
        self._unsent_bytes += sum(map(len, pieces))
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        """Send as much as the client takes."""
        while self._unsent:
            try:
                sent = self.socket.sendmsg(self._unsent[:_VECTOR_MAX])
            except BlockingIOError:
                return
            self._unsent_bytes -= sent
            if not self._unsent_bytes:
                self._unsent = []
                return
            whole = 0
            while sent >= len(self._unsent[whole]):
                sent -= len(self._unsent[whole])
                whole += 1
            del self._unsent[:whole]
            if sent:
                self._unsent[0] = memoryview(self._unsent[0])[sent:]

    def _settle(self) -> None:
        """Watch for what this connection waits for; close it when there is nothing."""
        if self._closed:
            return
        transmission = self.transmission
        ended = self._negotiation.ended if transmission is None else transmission.ended
        if ended and not self._unsent and (transmission is None or transmission.is_idle):
            self.close()
            return
        full = self._unsent_bytes >= _UNSENT_MAX_BYTES or self._filled == _BUFFER_BYTES
        reading = not ended and not full and not (transmission is not None and transmission.is_busy)
        self._server.watch(self, (_READ if reading else 0) | (_WRITE if self._unsent else 0))
