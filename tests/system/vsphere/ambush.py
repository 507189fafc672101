"""Daemons of a site killed in the midst of what a vCenter's backups do, and a witness of every snapshot.

A blow is laid for a call of one machine's backup. It falls inside of that call, so whoever made it stands still until
the daemon is dead: in which phase it died is known, not hoped.

    snapshot    before the host makes it: the task runs all the same
    areas       while the host is asked what changed
    reading     disks are open, and bytes are on their way
    committing  the CommServe was told, the last byte was read, and the snapshot's removal is asked for
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ingot.faults import CommServeSilent
from runtime.clock import SystemClock
from tests.sim.vcenter.faults import Faults
from tests.sim.vcenter.nbd_room import NbdRoom
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.snapshots import Snapshot
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.kept import KeptDisk
from tests.system.services.site import ENDS, Site
from vsa.hypervisors.vcenter.marks import mark_of

METHODS = {
    "snapshot": "CreateSnapshotEx_Task",
    "areas": "QueryChangedDiskAreas",
    "reading": "nbd.open",
    "committing": "RemoveSnapshot_Task",
}
READ_SECONDS = 0.15  # of one request of up to 1 MiB, so that a disk is being read for a while
_COMMIT_SECONDS = 8.0  # what was read is stored meanwhile
_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Hit:
    """A daemon that was killed, and what was going on at that moment."""

    service: str
    phase: str
    machine: str
    state: str  # of the machine's job; empty where no CommServe answered
    attempt: int
    snapshots: int  # ours
    open_disks: int

    @property
    def in_phase(self) -> bool:
        """Whether the job was where it was to be hit."""
        if self.state in ENDS:
            return False
        if self.phase == "reading":
            return self.snapshots > 0 and self.open_disks > 0
        if self.phase == "committing":
            return self.state == "COMMITTING"
        return self.phase == "snapshot" or self.snapshots > 0


class Ambush(Faults):
    """In the place of a simulator's `faults`."""

    def __init__(self, vcenter: Vcenter) -> None:
        super().__init__()
        self._vcenter = vcenter
        self._guard = threading.Lock()
        self._laid: list[tuple[str, str, Callable[[], None]]] = []
        self.removed_under: list[str] = []
        self.latency_by_method["nbd.read"] = READ_SECONDS
        vcenter.faults = self

    def lay(self, phase: str, machine: SimMachine, strike: Callable[[], None]) -> None:
        """For the next call of this phase that is about the machine."""
        with self._guard:
            self._laid.append((METHODS[phase], machine.moid, strike))

    def lift(self) -> int:
        """Take back what was laid and not met; how many."""
        with self._guard:
            count = len(self._laid)
            self._laid.clear()
        return count

    def meet(self, method: str, moid: str) -> None:
        found = self._vcenter.find(moid)
        if isinstance(found, Snapshot):
            if method == "RemoveSnapshot_Task" and _is_read(self._vcenter, found):
                self.removed_under.append(f"{found.description} of {found.machine.name}")
            moid = found.machine.moid
        strike = self._taken(method, moid)
        if strike is not None:
            strike()
        super().meet(method, moid)

    def _taken(self, method: str, moid: str) -> Callable[[], None] | None:
        with self._guard:
            for number, (laid_method, laid_moid, strike) in enumerate(self._laid):
                if (laid_method, laid_moid) == (method, moid):
                    del self._laid[number]
                    return strike
        return None


def _opened(vcenter: Vcenter) -> NbdRoom:
    room: NbdRoom = vcenter.rooms["/sim/nbd/"]
    return room


def _is_read(vcenter: Vcenter, snapshot: Snapshot) -> bool:
    files = {layer.file_name for layers in snapshot.layers.values() for layer in layers[-1:]}
    return any(each.layers[-1].file_name in files and not each.writes for each in list(_opened(vcenter).opened))


@dataclass
class Hunter:
    """Kills daemons of `running`, and remembers what it hit."""

    running: Site
    vcenter: Vcenter
    ambush: Ambush
    random: random.Random
    job_by_machine: dict[str, dict[str, Any]] = field(default_factory=dict)  # set when jobs are made
    hits: list[Hit] = field(default_factory=list)
    _late: list[threading.Thread] = field(default_factory=list)

    def blow(self, service: str, phase: str, machine: SimMachine) -> Callable[[], None]:
        """What is laid for a phase of the machine's job."""

        def strike() -> None:
            job = self.running.wait("the job", lambda: self.job_by_machine.get(machine.name))
            if phase == "committing" and not self._commits(job):
                self.ambush.lay(phase, machine, strike)  # what an earlier attempt left is removed: the next removal
                return
            seen = self._job(job)
            ours = sum(mark_of(each.description) is not None for each in machine.snapshots)
            disks = {layer for disk in machine.machine.disks.values() for layer in disk.layers}
            reading = sum(any(layer in disks for layer in each.layers) for each in list(_opened(self.vcenter).opened))
            self.running.kill(service)
            state, attempt = (seen["state"], seen["attempts"]) if seen else ("", 0)
            self.hits.append(Hit(service, phase, machine.name, state, attempt, ours, reading))

        def strike_later() -> None:
            thread = threading.Timer(self.random.uniform(0.05, 0.3), strike)
            self._late.append(thread)
            thread.start()

        return strike_later if phase == "reading" else strike

    def wait(self) -> None:
        """Until every blow that was begun has fallen."""
        while self._late:
            self._late.pop().join()

    def _job(self, job: dict[str, Any]) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.running.rest.get(f"/jobs/{job['id']}")
        except CommServeSilent:
            return None
        return found

    def _commits(self, job: dict[str, Any]) -> bool:
        """Whether it does now, or soon after a CommServe answers."""
        clock, pause = SystemClock(), threading.Event()
        over = clock.monotonic_seconds() + _COMMIT_SECONDS
        while clock.monotonic_seconds() < over:
            seen = self._job(job)
            if seen is None:
                over = clock.monotonic_seconds() + _COMMIT_SECONDS
            elif seen["state"] == "COMMITTING":
                return True
            pause.wait(_LOOK_SECONDS)
        return False


class Witness:
    """Knows what every disk of every snapshot held when it was made."""

    def __init__(self, vcenter: Vcenter) -> None:
        self.digest_by_disk: dict[tuple[str, str | None], str] = {}  # (uuid, change id)
        vcenter.witnesses.append(self._see)

    def digest(self, disk: KeptDisk) -> str:
        """What a disk of a point held: a change id names one snapshot, and a point also says of which vCenter."""
        assert disk.change_id is not None
        return self.digest_by_disk[disk.key, disk.change_id.partition("@")[0]]

    def _see(self, snapshot: Snapshot) -> None:
        machine = SimMachine(snapshot.machine)
        for number, key in enumerate(sorted(snapshot.machine.disks)):
            if key in snapshot.layers:
                held = machine.disk_bytes(number, snapshot)
                about = machine.disk(number).uuid.lower(), snapshot.change_ids[key]
                self.digest_by_disk[about] = hashlib.sha256(held).hexdigest()
