"""A vCenter as the `Hypervisor` port has it."""

from __future__ import annotations

from collections.abc import Iterator

from vsa.hypervisors import MachineSeen
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.inventory import Surroundings, machines_of
from vsa.hypervisors.vcenter.settings import Settings


class VcenterHypervisor:
    """`name` is what people call it; the connection is shared and stays open."""

    def __init__(self, name: str, settings: Settings, connection: Connection) -> None:
        self.name = name
        self.settings = settings
        self.connection = connection

    def discover(self) -> Iterator[MachineSeen]:
        """All machines but the hypervisor's own, also those that cannot be protected, with the reason."""
        around = Surroundings(self.connection)
        count = 0
        for machine in machines_of(self.connection, around):
            count += 1
            yield machine
        self.connection.counts.machines(count)
