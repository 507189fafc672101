"""A simulated vCenter: the one thing a test makes.

    with Vcenter(directory) as vcenter:
        web = vcenter.add_machine("web01", disks=[1 << 30])
        web.guest_write(0, offset=4096, data=b"...")

Everything simulated is guarded by `changes.lock`; tasks take it for the moment when they change something.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pyVmomi import vim, vmodl

from tests.sim.vcenter.authorization import ADMIN, Authorization
from tests.sim.vcenter.blueprint import Blueprint, Likenesses
from tests.sim.vcenter.certificate import Certificate
from tests.sim.vcenter.changes import Changes
from tests.sim.vcenter.clock import SimClock
from tests.sim.vcenter.cloud import furnish
from tests.sim.vcenter.custom_fields import CustomFields
from tests.sim.vcenter.endpoint import Endpoint
from tests.sim.vcenter.events import Events
from tests.sim.vcenter.faults import Faults
from tests.sim.vcenter.file_manager import FileManager, VirtualDiskManager
from tests.sim.vcenter.inventory import (
    Cluster,
    Datacenter,
    Datastore,
    Folder,
    Host,
    Network,
    Portgroup,
    Simulated,
    Switch,
)
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, served
from tests.sim.vcenter.property_collector import PropertyCollector
from tests.sim.vcenter.rooms import rooms
from tests.sim.vcenter.service import OptionManager, SearchIndex, ServiceInstance
from tests.sim.vcenter.sessions import Sessions
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.soap import Request
from tests.sim.vcenter.tags import Tags
from tests.sim.vcenter.tasks import Tasks
from tests.sim.vcenter.views import ViewManager

GIB = 1 << 30
T = TypeVar("T", bound=Simulated)
_NAMESPACE = uuid.UUID("b9b0bd24-8a3c-4f2e-8d6a-6b4b0c0f2a11")


class Vcenter:
    """A context manager, or `start` and `stop`. `name` tells one vCenter from another: uuids are derived from it."""

    def __init__(self, directory: Path, *, name: str = "vc1", port: int = 0, hosts: int = 2, cloud: bool = False):
        self.directory = directory
        self.name = name
        self.instance_uuid = str(uuid.uuid5(_NAMESPACE, name))
        self.clock = SimClock()
        self.changes = Changes()
        self.faults = Faults()
        self.objects: dict[str, Simulated] = {}
        self.unexpected: list[Exception] = []  # what went wrong in the simulator itself
        self.loose_disks: list[Any] = []  # that no machine has
        self.stopping = False
        self.user, self.password = "administrator@vsphere.local", "Sim-Secret-1"
        self._ids = itertools.count(1)
        self._quiesce_failures = 0
        self.workers = ThreadPoolExecutor(8, "task")
        self.tls = Certificate(directory / "certificate", name)
        self.likenesses = Likenesses(self)
        self._make_services()
        self._make_inventory(hosts)
        self.authorization.set(self.user, ADMIN, self.root)
        self.tags = Tags(self)
        self.workloads: dict[str, Any] = {}  # where machines go that say nothing
        if cloud:
            furnish(self)
        self.rooms = rooms(self)
        self._endpoint = Endpoint(self, port, self.tls.context())

    # Running

    def __enter__(self) -> Vcenter:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._endpoint.serve_forever, args=(0.05,), name=self.name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port of one that was never started."""
        self.workers.shutdown()
        self._endpoint.server_close()

    def stop(self) -> None:
        """Every connection ends; tasks end first."""
        self.workers.shutdown()
        self.stopping = True
        self.changes.rouse()
        self._endpoint.shutdown()
        self._endpoint.cut_all()
        self._endpoint.server_close()
        self._thread.join()

    def expire_sessions(self, user: str | None = None) -> int:
        """Control: everybody has to log in again, or one user has to."""
        with self.changes.lock:
            self.rooms["/api/"].expire()
            return self.sessions.expire(user)

    def forget_updates(self) -> None:
        """Control: every version of a collector is unknown from now on, as after a restart of the service."""
        with self.changes.lock:
            for each in self.each(PropertyCollector):
                each.versions.clear()
            self.changes.rouse()

    def cut_connections(self) -> None:
        """Control: as when a firewall forgets them."""
        self._endpoint.cut_all()

    @property
    def port(self) -> int:
        return int(self._endpoint.server_address[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """The authority's certificate, which a client is to trust."""
        return self.tls.authority

    @property
    def fingerprint(self) -> str:
        return self.tls.fingerprint

    @property
    def thumbprint(self) -> str:
        return self.tls.thumbprint

    # What there is

    def _make_services(self) -> None:
        self.sessions = Sessions(self, "SessionManager")
        self.sessions.password_by_user[self.user] = self.password
        self.property_collector = PropertyCollector(self, "propertyCollector")
        self.tasks = Tasks(self, "TaskManager")
        self.authorization = Authorization(self, "AuthorizationManager")
        self.custom_fields = CustomFields(self, "CustomFieldsManager")
        self.events = Events(self, "EventManager")
        self.services: dict[str, Simulated] = {
            "sessionManager": self.sessions,
            "propertyCollector": self.property_collector,
            "viewManager": ViewManager(self, "ViewManager"),
            "taskManager": self.tasks,
            "authorizationManager": self.authorization,
            "customFieldsManager": self.custom_fields,
            "searchIndex": SearchIndex(self, "SearchIndex"),
            "eventManager": self.events,
            "fileManager": FileManager(self, "FileManager"),
            "virtualDiskManager": VirtualDiskManager(self, "virtualDiskManager"),
            "setting": OptionManager(self, "VpxSettings"),
        }
        for each in (ServiceInstance(self, "ServiceInstance"), *self.services.values()):
            self.objects[each.moid] = each

    def _make_inventory(self, hosts: int) -> None:
        self.root = Folder(self, "Datacenters", None, "d")
        self.datacenter = Datacenter(self, "DC1", self.root)
        self.cluster = Cluster(self, "Cluster1", self.datacenter)
        for number in range(1, hosts + 1):
            Host(self, f"esx{number:02d}.example.com", self.cluster)
        self.datastore = Datastore(self, "datastore1", self.datacenter, "VMFS", 64 << 40)
        Datastore(self, "datastore2", self.datacenter, "VMFS", 64 << 40)
        self.network = Network(self, "VM Network", self.datacenter)
        switch = Switch(self, "DSwitch", self.datacenter, "50 1e 6d 21 5c 4a 0b 1a-7d 1c 5b 11 87 a4 90 01")
        Portgroup(self, "DPG-10", self.datacenter, switch)

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

    # Control

    def add_machine(self, name: str, disks: list[int], **how: Any) -> SimMachine:
        """A machine with disks of so many bytes. `how`: what a Blueprint says, and `folder`, `host`, `pool`,
        `datastore`, `networks` by name; `tags` as `category:name`; `custom` attributes.
        """
        with self.changes.lock:
            how = {**self.workloads, **how}
            tags, custom = how.pop("tags", ()), how.pop("custom", {})
            folder = self.named(Folder, how.pop("folder")) if "folder" in how else self.datacenter.machines
            pool = self.named(type(self.cluster.pool), how.pop("pool")) if "pool" in how else self.cluster.pool
            hosts = self.cluster.hosts
            host = self.named(Host, how.pop("host")) if "host" in how else hosts[len(folder.children) % len(hosts)]
            store = self.named(Datastore, how.pop("datastore")) if "datastore" in how else self.datastore
            networks = [self.named(Network, each) for each in how.pop("networks", [self.network.name])]
            plan = Blueprint(name, list(disks), store, networks, **how)
            machine = Machine(self, plan, folder, host, pool)
            for tag in tags:
                self.tags.tag(*tag.split(":", 1)).on.add(machine.moid)
            for key, value in custom.items():
                self.custom_fields.set(machine, key, value)
            return SimMachine(machine)

    def add_user(self, user: str, password: str, privileges: Iterable[str]) -> None:
        """Somebody with just these privileges, everywhere."""
        with self.changes.lock:
            self.sessions.password_by_user[user.lower()] = password
            self.authorization.add_role(user, privileges)
            self.authorization.set(user, user, self.root)

    def machine(self, name: str) -> SimMachine:
        """Raises KeyError."""
        return SimMachine(self.named(Machine, name))

    def fail_quiescing(self, times: int) -> None:
        """So many snapshots to come cannot be quiesced; -1: none ever."""
        self._quiesce_failures = times

    def quiesce(self, machine: Machine) -> None:
        """Raises what a host raises when a guest does not stand still."""
        if not machine.tools_running:
            raise vim.fault.ToolsUnavailable()
        with self.changes.lock:
            if self._quiesce_failures:
                self._quiesce_failures -= self._quiesce_failures > 0
                raise vim.fault.ApplicationQuiesceFault(
                    msg="An error occurred while quiescing the virtual machine. See its event log for details."
                )

    # Being called

    def not_authenticated(self, on: Simulated) -> Any:
        return vim.fault.NotAuthenticated(
            object=on.ref, privilegeId="System.View", msg="The session is not authenticated."
        )

    def call(self, request: Request, key: str, agent: str) -> tuple[Any, str]:
        """Answer a request in a session; the session's key, which login makes. Raises faults, and Cut."""
        self.faults.meet(request.method, request.moid)
        with self.changes.lock:
            call = Call(self, self.sessions.find(key) if key else None, request.method, agent)
            on = self.objects.get(request.moid)
            if on is None or not issubclass(on.kind, request.kind):
                if call.session is None:
                    raise vim.fault.NotAuthenticated(object=request.kind(request.moid), privilegeId="System.View")
                raise vmodl.fault.ManagedObjectNotFound(obj=request.kind(request.moid))
            answer = served(on.kind, request.method)
            if answer is None:
                raise vmodl.fault.NotImplemented(msg=f"{request.kind.__name__}.{request.method} is not simulated")
            if answer.needs_session and call.session is None:
                raise self.not_authenticated(on)
            if answer.privilege:
                self.authorization.need(call.user, answer.privilege, on)
            session = call.session
            if session is not None:
                session.calls += 1
            try:
                value = answer.answer(call, on, **request.arguments)
            finally:
                if session is not None:
                    session.calls -= 1
                    session.seen = self.clock.seconds()
        self.faults.meet_after(request.method, request.moid)
        return value, call.session.key if call.session is not None else ""
