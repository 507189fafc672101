"""Everything that answers: modules whose functions serve methods of SOAP, and what stands below other paths."""

from __future__ import annotations

from typing import Any

from tests.sim.vcenter import (
    authorization,
    changed_areas,
    creation,
    custom_fields,
    power,
    property_collector,
    reconfiguration,
    relocation,
    service,
    sessions,
    snapshots,
    tasks,
    updates,
    views,
)
from tests.sim.vcenter.nbd_room import NbdRoom

METHODS = (
    authorization,
    changed_areas,
    creation,
    custom_fields,
    power,
    property_collector,
    reconfiguration,
    relocation,
    service,
    sessions,
    snapshots,
    tasks,
    updates,
    views,
)


def rooms(vcenter: Any) -> dict[str, Any]:
    """By the start of the path."""
    return {"/sim/nbd/": NbdRoom(vcenter)}
