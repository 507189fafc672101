"""JSON logs on stdout, one object a line: time, level, event, and what the context says (job, trace, agent).

A line of a log is an event with fields, not a sentence with values baked in. Secrets are never fields.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

Log = FilteringBoundLogger

_TROUBLE = frozenset({"warning", "error", "critical"})
_TROUBLES = 10
_TROUBLE_CHARS = 600  # of each
_troubles: deque[str] = deque(maxlen=_TROUBLES)


def configure(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Once for each process, first thing: everything that is logged, by libraries too, becomes JSON on `stream`."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        _remember,
    ]
    _troubles.clear()
    render = structlog.processors.JSONRenderer(sort_keys=True)
    number = logging.getLevelNamesMapping()[level.upper()]
    out = stream or sys.stdout
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=render, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)


def troubles() -> list[str]:
    """The last warnings and errors of this process, as they were logged, shortened."""
    return list(_troubles)


def _remember(_logger: object, level: str, event: EventDict) -> EventDict:
    if level in _TROUBLE:
        _troubles.append(json.dumps(event, sort_keys=True, default=str)[:_TROUBLE_CHARS])
    return event


def log() -> Log:
    """The logger; what `about` bound is in every line."""
    return cast("Log", structlog.get_logger())


@contextmanager
def about(**fields: str | int) -> Iterator[None]:
    """Everything logged inside carries these fields: `with about(job=job, trace=trace):`.

    By this thread, and by those of `runtime.tasks` that it gives work.
    """
    with structlog.contextvars.bound_contextvars(**fields):
        yield
