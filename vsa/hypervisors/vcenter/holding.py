"""A machine of a vCenter held still: the order of one backup, from its lock to the last trace of its snapshot.

    turn -> orphans -> consolidation -> free space -> tracking -> snapshot -> description -> areas -> read
         -> let go (in the background, while what was read is committed) -> nothing is left

Whatever fails after the snapshot was asked for, it is removed; what cannot be removed is a warning, and a clean job or
the machine's next backup removes it. A recovery point is never lost for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from media.backup import Source
from media.recovery_point import JSON
from media.session_log import DiskName, ParentDisk
from runtime.faults import Fault
from runtime.logs import log
from runtime.tasks import begin_thread
from vsa.faults import MachineMissing, MachineUnfit, TransportFailed
from vsa.hypervisors import DiskSeen, MachineSeen, Purpose
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.creation import half_made_by
from vsa.hypervisors.vcenter.disks import MachineDisk, disks_of
from vsa.hypervisors.vcenter.guards import Floors, Guard, GuardedDisk
from vsa.hypervisors.vcenter.known_bugs import bug_of
from vsa.hypervisors.vcenter.limits import Limits
from vsa.hypervisors.vcenter.marks import Mark, snapshots_of
from vsa.hypervisors.vcenter.snapshots import Snapshots, Taken
from vsa.hypervisors.vcenter.tracking import Changes, begin_anew, changes_of, switch
from vsa.hypervisors.vcenter.transport import DiskPlace, OpenDisk, Transport

_REMOVAL_SECONDS = 20 * 60.0  # a removal that takes longer goes on without us; progress must be seen every half hour

Describe = Callable[[Connection, Any, Any, frozenset[str], Callable[[str], None]], JSON]


@dataclass(frozen=True)
class Ways:
    """What one agent holds machines of one vCenter with."""

    connection: Connection
    transports: Sequence[Transport]  # the first that can read a disk does
    limits: Limits
    floors: Floors
    describe: Describe


@contextmanager
def holding(ways: Ways, machine_id: str, why: Purpose) -> Iterator[HeldMachine]:
    """As `Hypervisor.hold`."""
    connection = ways.connection
    machine = find_machine(connection, machine_id)
    about = connection.properties(machine, "name", "config", "runtime", "guest", "snapshot", "datastore")
    if about["config"].template:
        raise MachineUnfit(f"{about['name']}: it is a template, which no snapshot can be made of")
    restoring = half_made_by(about["config"])
    if restoring:
        raise MachineUnfit(f"{about['name']}: it is half-made by the restore of job {restoring}")
    stores = frozenset(str(each._moId) for each in about.get("datastore") or [])
    host = str(about["runtime"].host._moId)
    with ExitStack() as stack:
        stack.enter_context(ways.limits.machine(machine_id, host, stores, why.check))
        held = HeldMachine(ways, machine, machine_id, why)
        stack.callback(held.end)
        held.begin()
        reading = sum(1 for _ in held.disks)
        stack.enter_context(ways.limits.disks(host, reading, why.check))
        yield held


def find_machine(connection: Connection, machine_id: str) -> Any:
    """By its instance UUID, with which its id ends; it begins with the vCenter where it was seen first.

    Raises MachineMissing.
    """
    instance = machine_id.rpartition(":")[2]
    index = connection.content.searchIndex
    found = connection.read(index.FindByUuid, None, instance, True, True)
    if found is None:
        raise MachineMissing(f"{connection.address}: expected a machine {machine_id}, found none")
    return found


class HeldMachine:
    """A `Held`. Belongs to the thread of its job, but for the disks that it gives out."""

    def __init__(self, ways: Ways, machine: Any, machine_id: str, why: Purpose) -> None:
        self._ways = ways
        self._connection = ways.connection
        self._machine = machine
        self._id = machine_id
        self._why = why
        self._snapshots = Snapshots(ways.connection, machine, why)
        self._guard = Guard(ways.connection, machine, why, ways.floors)
        self._taken: Taken | None = None
        self._taken_at = 0.0
        self._disks: list[MachineDisk] = []
        self._open: dict[str, OpenDisk] = {}
        self._distrusted: set[str] = set()
        self._product: Any = None
        self._removal: threading.Thread | None = None
        self._lifetime = 0.0
        self._removed = False
        self._about: dict[str, JSON] = {}
        self._transports: dict[str, str] = {}
        self.description: JSON = {}

    # What the port says

    @property
    def machine(self) -> MachineSeen:
        return self._seen

    @property
    def disks(self) -> Sequence[DiskName]:
        return [DiskName(disk.key, disk.size) for disk in self._protected]

    def sources(self, parents: Mapping[str, ParentDisk]) -> list[Source]:
        assert self._taken is not None
        self._guard.note_position()
        if self._about:  # read before: the machine moved meanwhile, so its files may be elsewhere
            self._close_disks()
            self._disks = self._frozen_disks()
        self._look_at_host()
        found = []
        for disk in self._protected:
            changes = self._changes(disk, parents.get(disk.key))
            change_id = None if bug_of(self._product, disk.size) else disk.change_id
            self._about[disk.key] = {
                "name": disk.name,
                "read": "full" if changes.extents is None else "incremental",
                "reason": changes.reason,
            }
            if changes.extents is not None:
                self._about[disk.key]["changed_bytes"] = sum(extent.length for extent in changes.extents)
                self._about[disk.key]["changed_areas"] = len(changes.extents)
            guarded = GuardedDisk(self._opened(disk), self._guard)
            self._connection.counts.disk_read(self._about[disk.key]["read"], self._transports[disk.key])
            log().info("disk", key=disk.key, transport=self._transports[disk.key], **self._about[disk.key])
            found.append(Source(disk.key, guarded, changes.extents, change_id, self._why.wish.proof_days))
        return found

    def _changes(self, disk: MachineDisk, parent: ParentDisk | None) -> Changes:
        assert self._taken is not None
        if disk.key in self._distrusted:
            return Changes(None, "change tracking was found wrong")
        bug = bug_of(self._product, disk.size)
        if bug is not None:
            return Changes(None, f"{_host_text(self._product)}: {bug.what}: {bug.source}")
        return changes_of(self._connection, self._machine, self._taken.snapshot, disk, parent)

    def distrust(self, key: str) -> None:
        self._distrusted.add(key)
        self._connection.counts.tracking_wrong()

    def let_go(self) -> None:
        if self._removal is None and self._taken is not None:
            self._close_disks()
            self._removal = begin_thread(self._remove, "snapshot-removal")

    def report(self) -> JSON:
        if self._taken is None:
            return {}
        disks = [{"key": key, **about, "transport": self._transports[key]} for key, about in self._about.items()]
        return {
            "snapshot": {
                "quiesced": self._taken.level,
                "seconds": self._lifetime,
                "creation_seconds": self._taken.seconds,
                "removed": self._removed,
            },
            "disks": disks,
            "not_protected": [
                {"key": disk.key, "name": disk.name, "reason": disk.reason} for disk in self._disks if disk.reason
            ],
        }

    # The order

    def begin(self) -> None:
        """Up to a snapshot that can be read. Raises; then `end` leaves nothing."""
        self._connection.counts.orphans_removed(self._snapshots.remove_orphans())
        about = self._look()
        if about["runtime"].consolidationNeeded:
            self._snapshots.consolidate()
        self._guard.require_space()
        about = self._with_tracking(about)
        self._taken = self._snapshots.take(about["runtime"], about.get("guest"))
        self._taken_at = self._why.clock.monotonic_seconds()
        self._connection.counts.snapshot_made(self._taken.seconds)
        self._guard.taken()
        self._disks = self._frozen_disks()
        for disk in self._disks:
            if disk.reason:
                self._why.warn(f"{disk.name} is not protected: {disk.reason}")
        if not self._protected:
            raise MachineUnfit(f"{about['name']}: none of its {len(self._disks)} disks can be protected")
        self._seen = _seen(self._id, about, self._disks)
        keys = frozenset(disk.key for disk in self._protected)
        config = self._config()
        self.description = self._ways.describe(self._connection, self._machine, config, keys, self._why.warn)

    def _look_at_host(self) -> None:
        """Which build the machine runs on; a warning where its change tracking is known to be wrong."""
        host = self._connection.properties(self._machine, "runtime.host")["runtime.host"]
        self._product = self._connection.properties(host, "summary.config.product").get("summary.config.product")
        bugs = {bug_of(self._product, disk.size) for disk in self._protected} - {None}
        for bug in sorted(bugs, key=str):
            assert bug is not None
            why = f"{_host_text(self._product)} has a known bug: {bug.what} ({bug.source})"
            self._why.warn(f"disks are read whole: {why}")

    def _config(self) -> Any:
        """As it was at the moment of the snapshot; where files are, as it is now."""
        assert self._taken is not None
        return self._connection.properties(self._taken.snapshot, "config")["config"]

    def _frozen_disks(self) -> list[MachineDisk]:
        return list(disks_of(self._config(), self._why.wish.excluded, self._connection.instance_uuid))

    def _look(self) -> dict[str, Any]:
        return self._connection.properties(self._machine, "name", "config", "runtime", "guest", "snapshot")

    @property
    def _protected(self) -> list[MachineDisk]:
        return [disk for disk in self._disks if disk.reason is None]

    def _with_tracking(self, about: dict[str, Any]) -> dict[str, Any]:
        """With change tracking switched on where that can be; what the machine is like then."""
        if about["config"].changeTrackingEnabled:
            return about
        if next(snapshots_of(about.get("snapshot")), None) is not None:
            self._why.warn("change tracking is off, and cannot be switched on while the machine has snapshots")
            return about
        try:
            switch(self._connection, self._machine, self._mark, on=True)
        except Fault as fault:
            self._why.check()
            self._snapshots.remove_orphans()
            self._why.warn(f"change tracking could not be switched on: {fault}")
        return self._look()

    @property
    def _mark(self) -> str:
        return str(Mark(self._why.site, self._why.job, self._why.fence))

    def _opened(self, disk: MachineDisk) -> OpenDisk:
        assert self._taken is not None
        if disk.key not in self._open:
            place = DiskPlace(
                str(self._machine._moId), str(self._taken.snapshot._moId), disk.device_key, disk.file, disk.size
            )
            self._open[disk.key] = self._first_fit(disk, place)
        return self._open[disk.key]

    def _first_fit(self, disk: MachineDisk, place: DiskPlace) -> OpenDisk:
        passed = []
        for transport in self._ways.transports:
            unfit = transport.unfit(place)
            if unfit is None:
                self._transports[disk.key] = transport.name
                return transport.open(place)
            passed.append(f"{transport.name}: {unfit}")
        raise TransportFailed(f"{disk.name}: no transport can read it: {'; '.join(passed) or 'none is set up'}")

    def _close_disks(self) -> None:
        while self._open:
            _, disk = self._open.popitem()
            disk.close()

    def _remove(self) -> None:
        """In a thread of its own. What fails is a warning."""
        assert self._taken is not None
        try:
            self._snapshots.remove(self._taken.snapshot)
            self._removed = not self._snapshots.is_there(self._taken.snapshot)
            if self._connection.properties(self._machine, "runtime")["runtime"].consolidationNeeded:
                self._snapshots.consolidate()
            if self._distrusted:
                self._begin_anew()
        except Fault as fault:
            if not self._removed:
                self._why.warn(f"the snapshot could not be removed; a clean job tries again: {fault}")
            else:
                self._why.warn(f"after the snapshot was removed: {fault}")
        finally:
            self._lifetime = self._why.clock.monotonic_seconds() - self._taken_at
            self._connection.counts.snapshot_ended(self._lifetime, removed=self._removed)

    def _begin_anew(self) -> None:
        about = self._connection.properties(self._machine, "snapshot")
        if next(snapshots_of(about.get("snapshot")), None) is not None:
            self._why.warn("change tracking was found wrong, and cannot begin anew while the machine has snapshots")
            return
        begin_anew(self._connection, self._machine, self._mark)

    def end(self) -> None:
        """Whatever happened: the disks are closed, and the snapshot is removed or told of."""
        self._close_disks()
        self.let_go()
        if self._removal is not None:
            self._removal.join(_REMOVAL_SECONDS)
            if self._removal.is_alive():
                self._why.warn("the snapshot is still being removed; the machine's next backup looks after it")


def _host_text(product: Any) -> str:
    return f"ESXi {product.version} build {product.build}"


def _seen(machine_id: str, about: dict[str, Any], disks: list[MachineDisk]) -> MachineSeen:
    seen = tuple(DiskSeen(disk.key, disk.name, disk.size) for disk in disks)
    states = {"poweredOn": "on", "poweredOff": "off", "suspended": "suspended"}
    state = states.get(str(about["runtime"].powerState), "unknown")
    return MachineSeen(machine_id, str(about["name"]), power_state=state, disks=seen)
