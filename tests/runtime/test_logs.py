"""Logs are JSON, and the last of what went wrong is remembered."""

from __future__ import annotations

import io
import json
import logging

from runtime.logs import about, log, troubles


def test_a_line_carries_what_it_is_about(logged: io.StringIO) -> None:
    with about(job="7", trace="t"):
        log().info("begun", bytes=5)
    line = json.loads(logged.getvalue())
    assert {name: line[name] for name in ("event", "job", "trace", "bytes", "service", "level")} == {
        "event": "begun",
        "job": "7",
        "trace": "t",
        "bytes": 5,
        "service": "test",
        "level": "info",
    }


def test_the_last_warnings_and_errors_are_remembered_and_nothing_else(logged: io.StringIO) -> None:
    for number in range(15):
        log().info("good", number=number)
        log().warning("bad", number=number, message="x" * 5000)
    logging.getLogger("a.library").error("broke")
    found = troubles()
    assert len(found) == 10
    assert all(len(line) <= 600 for line in found)
    assert "broke" in found[-1]
    assert ["bad" in line for line in found] == [True] * 9 + [False]
    assert logged.getvalue().count("good") == 15
