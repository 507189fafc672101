"""Requests that are longer than any of ours are refused before they are read, by a problem like every other refusal."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from commserve.api.problems import problem
from commserve.faults import RequestTooLong


class BodyLimit:
    """In front of an application."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._detail = f"the request's body is longer than {most_bytes} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._most_bytes:
            refusal = problem(RequestTooLong.status, RequestTooLong.code, self._detail, RequestTooLong.retry.value)
            await refusal(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most_bytes:
                raise HTTPException(RequestTooLong.status, self._detail)  # what FastAPI lets through while it reads
            return message

        await self._app(scope, counted, send)
