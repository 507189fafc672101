"""Everything that answers: modules whose functions serve methods of SOAP, and what stands below other paths."""

from __future__ import annotations

from typing import Any

from tests.sim.vcenter import (
    authorization,
    changed_areas,
    creation,
    custom_fields,
    events,
    file_manager,
    power,
    property_collector,
    reconfiguration,
    relocation,
    service,
    sessions,
    snapshots,
    storage_policies,
    tasks,
    updates,
    views,
)
from tests.sim.vcenter.control_room import ControlRoom
from tests.sim.vcenter.folder_room import FolderRoom
from tests.sim.vcenter.nbd_room import NbdRoom
from tests.sim.vcenter.tags import RestRoom

METHODS = (
    authorization,
    changed_areas,
    creation,
    custom_fields,
    events,
    file_manager,
    power,
    property_collector,
    reconfiguration,
    relocation,
    service,
    sessions,
    snapshots,
    storage_policies,
    tasks,
    updates,
    views,
)


def rooms(vcenter: Any) -> dict[str, Any]:
    """By the start of the path."""
    rest = RestRoom(vcenter)
    return {
        "/sim/nbd/": NbdRoom(vcenter),
        "/sim/": ControlRoom(vcenter),
        "/folder": FolderRoom(vcenter),
        "/api/": rest,
        "/rest/": rest,
    }
