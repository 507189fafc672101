"""A machine as a test sees it: what its guest does, and what is on its disks."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.sim.vcenter.device_changes import grow
from tests.sim.vcenter.disks import Disk
from tests.sim.vcenter.inventory import Folder
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.power import take_away, turn
from tests.sim.vcenter.snapshots import Snapshot, every_snapshot, make, remove, stun

_BLOCK = 1 << 20


class SimMachine:
    """Disks are numbered from 0 in the order of their keys."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._lock = machine.vcenter.changes.lock

    @property
    def moid(self) -> str:
        return self.machine.moid

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def instance_uuid(self) -> str:
        return str(self.machine.config.instanceUuid)

    def disk(self, number: int) -> Disk:
        with self._lock:
            return self.machine.disks[sorted(self.machine.disks)[number]]

    def guest_write(self, disk: int, offset: int, data: bytes) -> None:
        """The guest writes: into the top layer, noted by change tracking."""
        with self._lock:
            self.disk(disk).write(offset, data)

    def disk_bytes(
        self, disk: int, snapshot: Snapshot | None = None, offset: int = 0, length: int | None = None
    ) -> bytes:
        """What the disk shows, now or in a snapshot."""
        with self._lock:
            found = self.disk(disk)
            layers = None if snapshot is None else snapshot.layers[found.key]
            size = found.size if snapshot is None else snapshot.sizes[found.key]
            return found.read(offset, size - offset if length is None else length, layers)

    def digest(self, disk: int, snapshot: Snapshot | None = None) -> str:
        """SHA-256 of what the disk shows; blocks of zeros count as little as holes, and holes cost nothing."""
        with self._lock:
            found = self.disk(disk)
            layers = found.layers if snapshot is None else snapshot.layers[found.key]
            size = found.size if snapshot is None else snapshot.sizes[found.key]
            digest = hashlib.sha256(size.to_bytes(8))
            for first, end in found.data(layers).rounded(_BLOCK, size):
                for at in range(first, end, _BLOCK):
                    block = found.read(at, min(_BLOCK, end - at), layers)
                    if block.count(0) != len(block):
                        digest.update(at.to_bytes(8) + block)
            return digest.hexdigest()

    @property
    def snapshots(self) -> list[Snapshot]:
        with self._lock:
            return every_snapshot(self.machine)

    def take_snapshot(self, name: str = "a user's", description: str = "") -> Snapshot:
        """As a person would by hand."""
        with self._lock:
            return make(self.machine, name, description, quiesced=False)

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        with self._lock:
            remove(snapshot, children=False)

    def power_loss(self) -> None:
        """The host loses power and comes back: change tracking begins anew."""
        with self._lock:
            turn(self.machine, "poweredOff")
            self.reset_tracking()
            turn(self.machine, "poweredOn")

    def power_off(self) -> None:
        with self._lock:
            turn(self.machine, "poweredOff")

    def power_on(self) -> None:
        with self._lock:
            turn(self.machine, "poweredOn")

    def reset_tracking(self) -> None:
        """Every disk's change ids have another uuid from now on."""
        with self._lock:
            for disk in self.machine.disks.values():
                if disk.tracking.is_active:
                    disk.tracking.reset()
            self.machine.refresh_disks()
            self.machine.touch()

    def fail_tracking(self, reason: str | None) -> None:
        """Questions about changes fail with noTrack, noEpoch, cannotGetChanges; None: they work again."""
        for disk in self.machine.disks.values():
            disk.tracking.fails_with = reason

    def drop_changes_at_consolidation(self, *, drop: bool = True) -> None:
        """Known bug: what was written while a snapshot was open is forgotten when it is removed."""
        for disk in self.machine.disks.values():
            disk.tracking.drops_at_consolidation = drop

    def drop_changes_beyond(self, boundary: int = 128 << 30) -> None:
        """Known bug: after growing over the boundary, changes behind it are not noted."""
        for disk in self.machine.disks.values():
            disk.tracking.drops_beyond = boundary

    def resize(self, disk: int, size: int) -> None:
        """A person grows a disk."""
        with self._lock:
            grow(self.machine, self.disk(disk), size)
            self.machine.touch()

    def set_disk_mode(self, disk: int, mode: str) -> None:
        """`persistent`, or `independent_persistent`, which snapshots leave out."""
        with self._lock:
            found = self.disk(disk)
            self.machine.device(found.key).backing.diskMode = mode
            found.is_independent = mode.startswith("independent")
            self.machine.touch()

    def share_disk(self, disk: int) -> None:
        """Several machines may write to it."""
        with self._lock:
            self.machine.device(self.disk(disk).key).backing.sharing = "sharingMultiWriter"
            self.machine.touch()

    def destroy(self) -> None:
        """Off and away, with its files."""
        with self._lock:
            take_away(self.machine, with_files=True)

    def write_untracked(self, disk: int, offset: int, data: bytes) -> None:
        """Below all that change tracking sees: an array's copy of another moment was put in place."""
        with self._lock:
            self.disk(disk).layers[-1].write(offset, data)

    def into_rebuilt(self, new: Any) -> SimMachine:
        """Its vCenter was lost, and its hosts were added to a new one: all is as it was, but for its id there."""
        tracked = [disk.tracking for disk in self.machine.disks.values()]
        there = self.move_to_vcenter(new)
        with new.changes.lock:
            for disk, tracking in zip(there.machine.disks.values(), tracked, strict=True):
                disk.tracking = tracking
            there.machine.refresh_disks()
            there.machine.touch()
        return there

    def move_to_vcenter(self, other: Any) -> SimMachine:
        """vMotion across vCenters: the same uuids and bytes there, another id, and tracking that begins anew."""
        with self._lock, other.changes.lock:
            if self.machine.roots:
                raise ValueError("a machine with snapshots stays where it is")
            here = self.machine
            plan = {"firmware": here.config.firmware, "powered_on": here.power == "poweredOn"}
            there = other.add_machine(here.name, [disk.size for disk in here.disks.values()], **plan).machine
            there.config.uuid, there.config.instanceUuid = here.config.uuid, here.config.instanceUuid
            there.config.changeTrackingEnabled = here.config.changeTrackingEnabled
            for disk, old in zip(there.disks.values(), here.disks.values(), strict=True):
                disk.uuid = there.device(disk.key).backing.uuid = old.uuid
                if old.layers[0].path.exists():
                    disk.layers[0].path.parent.mkdir(parents=True, exist_ok=True)
                    old.layers[0].path.rename(disk.layers[0].path)
            stun(there)
            there.refresh_disks()
            there.touch()
            take_away(here, with_files=True)
            return SimMachine(there)

    def tag(self, tag: str) -> None:
        """`Category:Name`, made where it is new; somebody puts it on."""
        with self._lock:
            tags = self.machine.vcenter.tags
            tags.attach(tags.tag(*tag.split(":", 1)), self.moid, self.machine.vcenter.user)

    def untag(self, tag: str) -> None:
        with self._lock:
            tags = self.machine.vcenter.tags
            tags.detach(tags.tag(*tag.split(":", 1)), self.moid, self.machine.vcenter.user)

    def rename(self, name: str) -> None:
        with self._lock:
            self.machine.rename(name)

    def put(self, folder: str) -> None:
        """Into a folder of machines, which is made where it is new."""
        with self._lock:
            vcenter = self.machine.vcenter
            found = next((each for each in vcenter.each(Folder) if each.name == folder), None)
            if found is None:
                found = Folder(vcenter, folder, None, "v")
                vcenter.datacenter.machines.put(found)
            found.put(self.machine)

    def set_custom(self, field: str, value: str) -> None:
        self.machine.vcenter.custom_fields.set(self.machine, field, value)

    def move(self, host: Any) -> None:
        """vMotion to another host."""
        with self._lock:
            self.machine.move_to(host)
