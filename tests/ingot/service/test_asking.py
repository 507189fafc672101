"""Names that people give become ids; where they give none, what can work is meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from ingot.cli.service.asking import agents_of, machine_of
from ingot.faults import NameUnknown
from ingot.rest import Rest

AGENTS = [
    {"id": "1", "name": "ma1", "role": "mediaagent", "state": "revoked"},
    {"id": "2", "name": "ma2", "role": "mediaagent", "state": "active"},
    {"id": "3", "name": "ma3", "role": "mediaagent", "state": "draining"},
    {"id": "4", "name": "ma4", "role": "mediaagent", "state": "joined"},
    {"id": "5", "name": "vsa1", "role": "vsa", "state": "active"},
]


class Listing:
    """A CommServe that lists agents."""

    def all(self, _path: str, role: str | None = None) -> Iterator[dict[str, Any]]:
        return (each for each in AGENTS if role in (None, each["role"]))


class Machines:
    """A CommServe that lists machines when it is asked for those that are gone as well."""

    def __init__(self, *machines: dict[str, Any]) -> None:
        self._machines = machines

    def all(self, _path: str, *, gone: bool) -> Iterator[dict[str, Any]]:
        return (each for each in self._machines if gone)


REST = cast("Rest", Listing())


def test_without_names_all_are_meant_that_are_there_and_not_revoked() -> None:
    assert agents_of(REST, "mediaagent", None) == ["2", "3"]


def test_names_and_ids_are_taken_as_they_are() -> None:
    assert agents_of(REST, "vsa", ["vsa1", "1"]) == ["5", "1"]
    with pytest.raises(NameUnknown, match="vsa9"):
        agents_of(REST, "vsa", ["vsa9"])


def machine(key: str, name: str, seen: str, gone: str | None) -> dict[str, Any]:
    return {"id": key, "name": name, "last_seen_at": seen, "gone_at": gone}


def test_a_machine_that_is_gone_is_still_known_by_its_name() -> None:
    first, second = machine("1", "web", "2026-01-01", "2026-01-02"), machine("2", "web", "2026-02-01", "2026-02-02")
    assert machine_of(cast("Rest", Machines(first, second)), "web") == "2"
    there = machine("3", "web", "2025-01-01", None)
    assert machine_of(cast("Rest", Machines(first, there, second)), "web") == "3"
    assert machine_of(cast("Rest", Machines(first, there)), "1") == "1"
    with pytest.raises(NameUnknown, match="db"):
        machine_of(cast("Rest", Machines(first, there)), "db")
