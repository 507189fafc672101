"""Every request has a trace: the caller's, by its `traceparent`, or a new one. The answer says which."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from commserve.ids import Ids
from runtime.logs import about
from runtime.trace import trace_of

HEADER = "Ingot-Trace"


class Traced:
    """In front of an application."""

    def __init__(self, app: ASGIApp, ids: Ids) -> None:
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = trace_of(Headers(scope=scope).get("traceparent", "")) or self._ids.trace()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = trace
            await send(message)

        with about(trace=trace):
            await self._app(scope, receive, named)
