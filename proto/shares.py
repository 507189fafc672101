"""The threads of a server, shared out: no peer has them all, however many calls it makes and however slow it reads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from proto.faults import PeerBusy
from proto.handlers import Answer, Stream, around


class Shares(grpc.ServerInterceptor):
    """Around calls, below what translates faults. A peer is whom its certificate names."""

    def __init__(self, most: int) -> None:
        """`most` calls of one peer run at once; it hears PeerBusy from others."""
        self._most = most
        self._running: Counter[Any] = Counter()
        self._lock = threading.Lock()

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        return around(continuation(handler_call_details), self._answering, self._streaming)

    def _answering(self, inner: Answer) -> Answer:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            with self._one(context):
                return inner(request, context)

        return answer

    def _streaming(self, inner: Stream) -> Stream:
        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._one(context):
                yield from inner(request, context)

        return stream

    @contextmanager
    def _one(self, context: grpc.ServicerContext) -> Iterator[None]:
        peer = tuple(context.auth_context().get("x509_subject_alternative_name", ()))
        with self._lock:
            if self._running[peer] >= self._most:
                raise PeerBusy(f"{self._most} calls of yours run, which are the most")
            self._running[peer] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[peer] -= 1
                if not self._running[peer]:
                    del self._running[peer]
