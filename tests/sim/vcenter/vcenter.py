"""A simulated vCenter: the one thing a test makes.

    with Vcenter(directory) as vcenter:
        web = vcenter.add_machine("web01", disks=[1 << 30])
        web.guest_write(0, offset=4096, data=b"...")

Everything simulated is guarded by `changes.lock`; tasks take it for the moment when they change something.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.answering import answered
from tests.sim.vcenter.authorization import ADMIN, Authorization
from tests.sim.vcenter.blueprint import Blueprint, Likenesses
from tests.sim.vcenter.certificate import Certificate
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
    Switch,
)
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, Simulated
from tests.sim.vcenter.property_collector import PropertyCollector
from tests.sim.vcenter.registry import Registry
from tests.sim.vcenter.rooms import rooms
from tests.sim.vcenter.service import OptionManager, SearchIndex, ServiceInstance
from tests.sim.vcenter.sessions import Sessions
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.snapshots import Snapshot
from tests.sim.vcenter.soap import Request
from tests.sim.vcenter.storage_policies import StoragePolicies
from tests.sim.vcenter.tags import Tags
from tests.sim.vcenter.tasks import Tasks
from tests.sim.vcenter.views import ViewManager

_NAMESPACE = uuid.UUID("b9b0bd24-8a3c-4f2e-8d6a-6b4b0c0f2a11")


class Vcenter(Registry):
    """A context manager, or `start` and `stop`. `name` tells one vCenter from another: uuids are derived from it."""

    def __init__(self, directory: Path, *, name: str = "vc1", port: int = 0, hosts: int = 2, cloud: bool = False):
        super().__init__()
        self.directory = directory
        self.name = name
        self.instance_uuid = str(uuid.uuid5(_NAMESPACE, name))
        self.clock = SimClock()
        self.faults = Faults()
        self.unexpected: list[Exception] = []  # what went wrong in the simulator itself
        self.stopping = False
        self.user, self.password = "administrator@vsphere.local", "Sim-Secret-1"
        self._quiesce_failures = 0
        self.workers = ThreadPoolExecutor(8, "task")
        self.tls = Certificate(directory / "certificate", name)
        self.likenesses = Likenesses(self)
        self._make_services()
        self._make_inventory(hosts)
        self.authorization.set(self.user, ADMIN, self.root)
        self.tags = Tags(self)
        self.witnesses: list[Callable[[Snapshot], None]] = []  # see every snapshot when it is made, the lock held
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
        self.policies = StoragePolicies(self)
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

    def call(self, request: Request, key: str, agent: str, find: Callable[[str], Simulated | None]) -> tuple[Any, str]:
        """Answer a request in a session; the session's key, which login makes. Raises faults, and Cut."""
        self.faults.meet(request.method, request.moid)
        with self.changes.lock:
            session = self.sessions.find(key) if key else None
            call = Call(self, session, request.method, agent)
            value = answered(call, request, find)
        self.faults.meet_after(request.method, request.moid)
        return value, call.session.key if call.session is not None else ""
