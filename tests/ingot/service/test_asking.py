"""Names that people give become ids; where they give none, what can work is meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from ingot.cli.service.asking import agents_of
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


REST = cast("Rest", Listing())


def test_without_names_all_are_meant_that_are_there_and_not_revoked() -> None:
    assert agents_of(REST, "mediaagent", None) == ["2", "3"]


def test_names_and_ids_are_taken_as_they_are() -> None:
    assert agents_of(REST, "vsa", ["vsa1", "1"]) == ["5", "1"]
    with pytest.raises(NameUnknown, match="vsa9"):
        agents_of(REST, "vsa", ["vsa9"])
