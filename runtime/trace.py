"""Trace ids: one for everything that one request, or one due time, sets off in all services.

32 hexadecimal digits, those of W3C Trace Context, so that a program that traces its own requests finds ours by the same
id. Within a process the log's context carries it (`runtime.logs.about`); between processes assignments and tickets do.
"""

from __future__ import annotations

import re

import structlog

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_INVALID = "0" * 32
BYTES = 16


def current() -> str:
    """The trace of what runs here; empty where nothing began one."""
    return str(structlog.contextvars.get_contextvars().get("trace", ""))


def trace_of(traceparent: str) -> str:
    """The trace that the caller's header names; empty where it names none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found is not None and found[1] != _INVALID else ""
