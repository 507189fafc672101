"""What happens to machines while somebody protects them."""

from __future__ import annotations

from tests.sim.vcenter.inventory import Datastore, Host
from tests.sim.vcenter.relocation import move_files
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.snapshots import revert as go_back
from tests.sim.vcenter.vcenter import Vcenter

MIB = 1 << 20


def move_storage(vcenter: Vcenter, machine: SimMachine) -> None:
    """Storage vMotion to another datastore."""
    stores = [each for each in vcenter.each(Datastore) if each.type == "VMFS"]
    here = machine.machine.datastores()[0]
    with vcenter.changes.lock:
        move_files(machine.machine, next(store for store in stores if store is not here))
        machine.machine.refresh_disks()
        machine.machine.touch()


def move_host(vcenter: Vcenter, machine: SimMachine) -> None:
    """vMotion."""
    machine.move(next(host for host in vcenter.each(Host) if host is not machine.machine.host))


def revert(machine: SimMachine) -> None:
    """A person goes back to a snapshot of his own, and removes it."""
    theirs = machine.take_snapshot()
    machine.guest_write(0, MIB, b"to be undone" * 1000)
    with machine.machine.vcenter.changes.lock:
        go_back(theirs)
    machine.remove_snapshot(theirs)
    machine.power_on()


def expire_sessions(vcenter: Vcenter) -> None:
    """Everybody has to log in again."""
    assert vcenter.expire_sessions() > 0
