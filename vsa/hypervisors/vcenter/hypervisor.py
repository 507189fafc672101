"""A vCenter as the `Hypervisor` port has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from vsa.faults import HypervisorUnknown
from vsa.hypervisors import Held, MachineSeen, Purpose
from vsa.hypervisors.receiving import Order, Received
from vsa.hypervisors.vcenter.cleaning import Cleaned, clean
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.holding import holding
from vsa.hypervisors.vcenter.inventory import Surroundings, machines_of
from vsa.hypervisors.vcenter.limits import Limits
from vsa.hypervisors.vcenter.receiving import receiving
from vsa.hypervisors.vcenter.settings import Settings
from vsa.hypervisors.vcenter.ways import ways_of


class VcenterHypervisor:
    """`name` is what people call it; the connection is shared and stays open."""

    def __init__(self, name: str, settings: Settings, connection: Connection, password: str, limits: Limits) -> None:
        """`limits` are those of all jobs of this agent there; `password` is for who reads the disks."""
        self.name = name
        self.settings = settings
        self.connection = connection
        self._password = password
        self._limits = limits

    def discover(self) -> Iterator[MachineSeen]:
        """All machines but the hypervisor's own, also those that cannot be protected, with the reason."""
        around = Surroundings(self.connection)
        count = 0
        for machine in machines_of(self.connection, around):
            count += 1
            yield machine
        self.connection.counts.machines(count)

    def hold(self, machine: str, why: Purpose) -> AbstractContextManager[Held]:
        """Also raises SnapshotFailed, SnapshotTooOld, DatastoreFull, TransportFailed, MachineMoved."""
        return holding(ways_of(self.settings, self.connection, self._password, self._limits), machine, why)

    def clean(self, machine: str, why: Purpose, half_made_by: str) -> Cleaned:
        """As `vsa.hypervisors.vcenter.cleaning` says."""
        return clean(self.connection, self._limits, machine, why, half_made_by)

    def receive(self, order: Order) -> AbstractContextManager[Received]:
        """As `vsa.hypervisors.receiving` says."""
        ways = ways_of(self.settings, self.connection, self._password, self._limits)
        if not ways.transports:
            raise HypervisorUnknown(f"hypervisor {self.name}: nbd: expected vddk or url: how are its disks written?")
        return receiving(self.connection, ways.transports[0], order)
