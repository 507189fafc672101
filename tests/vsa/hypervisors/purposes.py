"""Why a machine is held in tests: for job `job`, lease 1, of one site."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.media.fakes import FakeClock
from vsa.hypervisors import Purpose, Wish

SITE = "5f0c3d5e-0000-4000-8000-000000000001"


@dataclass
class Heard:
    """What a holder said."""

    warnings: list[str] = field(default_factory=list)


def purpose(heard: Heard | None = None, **more: Any) -> Purpose:
    """A purpose that warns `heard` and never stops; members by name."""
    values: dict[str, Any] = {
        "site": SITE,
        "job": "job",
        "fence": 1,
        "wish": Wish(),
        "warn": (heard or Heard()).warnings.append,
        "check": lambda: None,
        "ended": lambda _job, _fence: False,
        "clock": FakeClock(),
    }
    return Purpose(**{**values, **more})
