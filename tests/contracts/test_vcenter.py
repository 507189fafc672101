"""What Ingot asks of a vCenter, asked of each that there is: simulated ones, and a real one where it is named."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pyVmomi import vim

from runtime.clock import SystemClock
from tests.sim.vcenter.vcenter import Vcenter
from tests.vcsim.server import Vcsim
from vsa.faults import (
    CertificateRefused,
    HypervisorFailed,
    HypervisorRefused,
    HypervisorUnreachable,
    MachineMissing,
    SessionLost,
)
from vsa.hypervisors.vcenter.connection import CALLS_AT_ONCE, Connection
from vsa.hypervisors.vcenter.hypervisor import VcenterHypervisor
from vsa.hypervisors.vcenter.limits import Limits, Most
from vsa.hypervisors.vcenter.metrics import VcenterMetrics
from vsa.hypervisors.vcenter.policies import policy_ids, read_policies
from vsa.hypervisors.vcenter.settings import Settings
from vsa.hypervisors.vcenter.trust import Trust

PEERS = ["sim", "vcsim", *(["real"] if os.environ.get("INGOT_VCENTER") else [])]


@dataclass(frozen=True)
class Peer:
    address: str
    user: str
    password: str
    trust: Trust

    def connect(self, **options: object) -> Connection:
        return Connection(self.address, self.user, self.password, self.trust, SystemClock(), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """The real one, where INGOT_VCENTER names it: `make verify-vcenter` (docs/vsphere.md)."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "vcsim":
        with Vcsim(directory, "-vm", "20") as vcsim:
            yield Peer(vcsim.address, vcsim.user, vcsim.password, Trust(vcsim.certificate.read_text()))
    elif request.param == "sim":
        with Vcenter(directory) as sim:
            for number in range(20):
                sim.add_machine(f"web{number:02}", [1 << 30])
            sim.policies.add("vSAN Default Storage Policy")
            yield Peer(sim.address, sim.user, sim.password, Trust(sim.certificate.read_text()))
    else:
        yield real_peer()


def real_peer() -> Peer:
    authority = os.environ.get("INGOT_VCENTER_AUTHORITY")
    fingerprint = os.environ.get("INGOT_VCENTER_FINGERPRINT", "").replace(":", "").lower()
    trust = Trust(Path(authority).read_text() if authority else None, fingerprint or None)
    password = Path(os.environ["INGOT_VCENTER_PASSWORD_FILE"]).read_text().splitlines()[0]
    return Peer(os.environ["INGOT_VCENTER"], os.environ["INGOT_VCENTER_USER"], password, trust)


@pytest.fixture
def connection(peer: Peer) -> Iterator[Connection]:
    with peer.connect() as connection:
        yield connection


def test_every_machine_comes_once_with_what_was_asked_of_it(connection: Connection) -> None:
    rows = list(connection.retrieve(vim.VirtualMachine, ["name", "config.instanceUuid", "runtime.powerState"]))
    assert rows
    assert len({managed._moId for managed, _ in rows}) == len(rows)
    assert all(values["name"] and values["config.instanceUuid"] for _, values in rows)


def test_machines_come_in_pages_and_each_once(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {managed._moId for managed, _ in connection.retrieve(vim.VirtualMachine, ["name"])}
    monkeypatch.setattr("vsa.hypervisors.vcenter.retrieval.PAGE", 1)
    paged = [managed._moId for managed, _ in connection.retrieve(vim.VirtualMachine, ["name"])]
    assert sorted(paged) == sorted(whole)


def test_pages_go_on_where_the_session_ends_between_them(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {managed._moId for managed, _ in connection.retrieve(vim.VirtualMachine, ["name"])}
    monkeypatch.setattr("vsa.hypervisors.vcenter.retrieval.PAGE", 1)
    rows = connection.retrieve(vim.VirtualMachine, ["name"])
    first, _ = next(rows)
    connection.content.sessionManager.Logout()
    assert sorted([first._moId, *(managed._moId for managed, _ in rows)]) == sorted(whole)
    assert connection.generation >= 1


def test_a_read_logs_in_again_where_the_session_ended(connection: Connection) -> None:
    connection.content.sessionManager.Logout()
    assert connection.read(lambda: connection.content.rootFolder.name)
    assert connection.generation == 1


def test_threads_whose_session_ends_log_in_once(connection: Connection) -> None:
    connection.content.sessionManager.Logout()
    with ThreadPoolExecutor(16) as threads:
        names = list(threads.map(lambda _: connection.read(lambda: connection.content.rootFolder.name), range(64)))
    assert len(set(names)) == 1
    assert connection.generation == 1


def test_what_changes_something_is_not_repeated_where_the_session_ended(connection: Connection) -> None:
    calls = []

    def create() -> object:
        calls.append(1)
        return connection.content.rootFolder.CreateFolder("twice")

    connection.content.sessionManager.Logout()
    with pytest.raises(SessionLost):
        connection.call(create)
    assert calls == [1]
    folder = connection.call(create)  # in the session that was begun meanwhile
    connection.tasks.run(folder, folder.Destroy_Task)


def test_a_session_is_kept_alive_and_renewed_without_any_call(peer: Peer) -> None:
    with peer.connect(keep_alive_seconds=0.01) as connection:
        ended = threading.Event()
        again = connection.log_in_again

        def noted(generation: int) -> None:
            again(generation)
            ended.set()

        connection.log_in_again = noted  # type: ignore[method-assign]
        connection.content.sessionManager.Logout()
        assert ended.wait(30)
    assert connection.generation >= 1


def test_at_most_so_many_calls_run_at_once(connection: Connection) -> None:
    lock, now, most = threading.Lock(), 0, 0
    full = threading.Barrier(CALLS_AT_ONCE)

    def busy() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        full.wait(30)  # as many as there are places do run together
        with lock:
            now -= 1

    with ThreadPoolExecutor(CALLS_AT_ONCE * 2) as threads:
        list(threads.map(lambda _: connection.read(busy), range(CALLS_AT_ONCE * 4)))
    assert most == CALLS_AT_ONCE


def test_a_wrong_password_is_refused_and_not_tried_again(peer: Peer) -> None:
    with pytest.raises(HypervisorRefused) as caught:
        Connection(peer.address, peer.user, "wrong", peer.trust, SystemClock())
    assert peer.user in str(caught.value)
    assert "wrong" not in str(caught.value).replace("password", "")


def test_a_machine_that_is_gone_is_named(connection: Connection) -> None:
    with pytest.raises(MachineMissing, match="vm-999999"):
        connection.properties(vim.VirtualMachine("vm-999999", connection.stub), "name")


def test_a_fault_keeps_the_name_that_it_has_there(connection: Connection) -> None:
    folder = connection.call(connection.content.rootFolder.CreateFolder, "the same")
    with pytest.raises(HypervisorFailed) as caught:
        connection.call(connection.content.rootFolder.CreateFolder, "the same")
    connection.tasks.run(folder, folder.Destroy_Task)
    assert caught.value.name == "DuplicateName"


def test_nobody_answers_at_a_port_that_is_closed(peer: Peer) -> None:
    with pytest.raises(HypervisorUnreachable):
        Connection("127.0.0.1:1", peer.user, peer.password, peer.trust, SystemClock())


def test_storage_policies_are_known_by_their_names(peer: Peer) -> None:
    with peer.connect() as connection:
        there = policy_ids(connection)
        machine, about = next(iter(connection.retrieve(vim.VirtualMachine, ["config.hardware.device"])))
        devices = about["config.hardware.device"]
        kept = read_policies(
            connection, machine, [each for each in devices if isinstance(each, vim.vm.device.VirtualDisk)]
        )
    assert there["vSAN Default Storage Policy"]
    assert kept.unread == ""
    assert {kept.home, *kept.disks.values()} - {""} <= set(there)


def test_a_certificate_that_no_authority_vouches_for_is_refused(peer: Peer) -> None:
    with pytest.raises(CertificateRefused):
        Connection(peer.address, peer.user, peer.password, Trust(), SystemClock())


def test_a_pinned_certificate_is_checked_on_every_connection(peer: Peer) -> None:
    host, port = peer.address.split(":")
    shown = ssl.get_server_certificate((host, int(port)))
    pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest()
    with Connection(peer.address, peer.user, peer.password, Trust(fingerprint=pin), SystemClock()) as connection:
        context = connection.stub.schemeArgs["context"]
        connection.stub.DropConnections()
        context.fingerprint = "0" * 64
        with pytest.raises(CertificateRefused, match="fingerprint 0000"):
            connection.read(lambda: connection.content.rootFolder.name)
        with pytest.raises(CertificateRefused, match="fingerprint 0000"):
            connection.rest.get("cis/tagging/tag")
        context.fingerprint = pin


def test_a_task_is_waited_for_and_its_fault_is_ours(connection: Connection) -> None:
    machine, _ = next(iter(connection.retrieve(vim.VirtualMachine, ["name"])))
    snapshot = connection.tasks.run(machine, machine.CreateSnapshot_Task, "one", "marked", False, False)
    assert isinstance(snapshot, vim.vm.Snapshot)
    connection.tasks.run(machine, snapshot.RemoveSnapshot_Task, False)
    if connection.properties(machine, "runtime.powerState")["runtime.powerState"] != "poweredOn":
        connection.tasks.run(machine, machine.PowerOnVM_Task)
    with pytest.raises(HypervisorFailed) as caught:
        connection.tasks.run(machine, machine.PowerOnVM_Task)
    assert caught.value.name == "InvalidPowerState"


def test_calls_and_faults_are_counted(peer: Peer) -> None:
    registry = CollectorRegistry()
    with peer.connect(metrics=VcenterMetrics(registry)) as connection:
        connection.content.sessionManager.Logout()
        connection.read(lambda: connection.content.rootFolder.name)
        with pytest.raises(MachineMissing):
            connection.properties(vim.VirtualMachine("vm-999999", connection.stub), "name")
    labels = {"address": peer.address}
    assert registry.get_sample_value("ingot_vcenter_logins_again_total", labels) == 1
    lost = registry.get_sample_value("ingot_vcenter_faults_total", {**labels, "code": "vsa.machine_missing"})
    assert lost == 1
    assert (registry.get_sample_value("ingot_vcenter_call_seconds_count", labels) or 0) >= 3


def test_machines_are_discovered_with_ids_that_stay(peer: Peer, connection: Connection) -> None:
    first = {machine.id: machine for machine in vcenter(peer, connection).discover()}
    again = {machine.id: machine for machine in vcenter(peer, connection).discover()}
    assert first == again
    for machine in first.values():
        assert machine.id.startswith(f"{connection.instance_uuid}:")
        assert machine.folder
        assert machine.resource_pool or machine.reason
        assert machine.power_state in {"on", "off", "suspended"}
        assert len({disk.key for disk in machine.disks}) == len(machine.disks)


def test_what_a_discovery_says_is_what_each_machine_says_of_itself(peer: Peer, connection: Connection) -> None:
    found = {json.loads(machine.source)["moref"]: machine for machine in vcenter(peer, connection).discover()}
    moref, seen = next(iter(found.items()))
    machine = vim.VirtualMachine(moref, connection.stub)
    assert seen.id.endswith(connection.read(lambda: machine.config.instanceUuid).lower())
    assert seen.name == connection.read(lambda: machine.name)
    folder = connection.read(lambda: machine.parent)
    names = []
    while folder is not None:
        said = connection.properties(folder, "name", "parent")
        names.append(said["name"])
        folder = said.get("parent")
    assert seen.folder == "/".join(name for name in reversed(names) if name not in ("Datacenters", "vm"))


def vcenter(peer: Peer, connection: Connection) -> VcenterHypervisor:
    return VcenterHypervisor("vc", Settings(peer.address, peer.user, peer.trust), connection, "", Limits(Most()))
