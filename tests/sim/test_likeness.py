"""What ten thousand machines have alike is written once, and says the same as each of them would."""

from __future__ import annotations

import pytest

from tests.sim.vcenter.selection import written
from tests.sim.vcenter.vcenter import Vcenter

PATHS = (
    "config.name",
    "config.uuid",
    "config.instanceUuid",
    "config.template",
    "config.files.vmPathName",
    "config.files",
    "config.hardware.device",
    "config.extraConfig",
    "config.vAppConfig",
    "summary.config.instanceUuid",
    "summary.config.name",
    "guest.guestFullName",
    "network",
)


@pytest.mark.parametrize("path", PATHS)
def test_a_property_is_the_same_before_and_after_somebody_looked_closer(vcenter: Vcenter, path: str) -> None:
    for name in ("web & <db>", "other", "a/b"):
        plan = {"firmware": "efi", "networks": ["VM Network", "DPG-10"], "annotation": "a & b"}
        machine = vcenter.add_machine(name, [1 << 30, 2 << 30], **plan).machine
        before = written(machine, path)
        assert machine.disks  # made now
        machine.touch()
        assert written(machine, path) == before


def test_no_two_machines_have_the_same_uuid(vcenter: Vcenter) -> None:
    machines = [vcenter.add_machine(f"vm{number}", [1 << 30]).machine for number in range(50)]
    for path in ("config.uuid", "config.instanceUuid", "config.hardware.device"):
        assert len({written(machine, path) for machine in machines}) == 50
