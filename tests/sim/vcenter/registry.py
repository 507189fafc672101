"""Everything that is simulated, by id, and what is looked up in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeVar

from pyVmomi import vim, vmodl

from tests.sim.vcenter.changes import Changes
from tests.sim.vcenter.inventory import Datastore, Network
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Simulated

T = TypeVar("T", bound=Simulated)


class Registry:
    """Guarded by `changes.lock`. `loose_disks` lie on datastores and belong to no machine."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.objects: dict[str, Simulated] = {}
        self.loose_disks: list[Any] = []
        self._ids = itertools.count(1)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self._ids)}"

    def add(self, entity: Simulated) -> None:
        """A new object of the inventory."""
        with self.changes.lock:
            self.objects[entity.moid] = entity
            self.changes.note_structure()

    def keep(self, made: Simulated, session: Any) -> None:
        """An object that lives as long as a session."""
        self.objects[made.moid] = made
        session.objects.append(made.moid)

    def forget(self, moid: str) -> None:
        with self.changes.lock:
            self.objects.pop(moid, None)
            self.changes.note_structure()

    def find(self, moid: str) -> Simulated | None:
        return self.objects.get(moid)

    def need(self, ref: Any) -> Any:
        """Raises ManagedObjectNotFound."""
        found = self.objects.get(ref._moId)
        if found is None or not isinstance(found.ref, type(ref)):
            raise vmodl.fault.ManagedObjectNotFound(
                obj=ref, msg="The object has already been deleted or has not been completely created"
            )
        return found

    def each(self, kind: type[T]) -> Iterator[T]:
        return (each for each in list(self.objects.values()) if isinstance(each, kind))

    def machines(self) -> Iterator[Machine]:
        return self.each(Machine)

    def named(self, kind: type[T], name: str) -> T:
        """The object of a kind by its name. Raises KeyError."""
        for each in self.each(kind):
            if getattr(each, "name", None) == name:
                return each
        raise KeyError(name)

    def disks_on(self, datastore: Datastore) -> Iterator[Any]:
        for machine in self.machines():
            if not machine.is_untouched:
                yield from (disk for disk in machine.disks.values() if disk.layers[-1].datastore is datastore)

    def networks(self) -> Iterator[Network]:
        return self.each(Network)

    def disk_files(self) -> set[str]:
        """The names of all vmdk that there are."""
        machines = [each for each in self.machines() if not each.is_untouched]
        disks = [*self.loose_disks, *(disk for each in machines for disk in each.disks.values())]
        return {layer.file_name for disk in disks for layer in disk.layers}

    def moved_small_files(self, before: str, after: str) -> None:
        """A machine's directory moved to another datastore."""
        old = self.datastore_of(before).path / before.partition("]")[2].strip()
        new = self.datastore_of(after).path / after.partition("]")[2].strip()
        if old.is_dir() and old != new:
            new.mkdir(parents=True, exist_ok=True)
            for file in old.iterdir():
                file.rename(new / file.name)
            old.rmdir()

    def datastore_of(self, path: str) -> Datastore:
        """Of `[name] path`. Raises InvalidDatastorePath."""
        name = path.partition("]")[0].removeprefix("[")
        try:
            return self.named(Datastore, name)
        except KeyError:
            raise vim.fault.InvalidDatastorePath(datastorePath=path) from None

    def network_of(self, card: Any) -> Network | None:
        backing = card.backing
        moid = backing.port.portgroupKey if hasattr(backing, "port") else getattr(backing.network, "_moId", "")
        found = self.objects.get(moid)
        return found if isinstance(found, Network) else None
