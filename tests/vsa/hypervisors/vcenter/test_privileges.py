"""Which privileges are missing is said before work fails for want of one."""

from __future__ import annotations

from pathlib import Path

from runtime.clock import SystemClock
from tests.sim.vcenter.inventory import Datastore
from tests.sim.vcenter.vcenter import Vcenter
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.privileges import NEEDS, Missing, missing_privileges
from vsa.hypervisors.vcenter.trust import Trust

USER, PASSWORD = "backup@vsphere.local", "Secret-2"


def missing(sim: Vcenter, user: str, password: str) -> list[Missing]:
    trust = Trust(sim.certificate.read_text())
    with sim, Connection(sim.address, user, password, trust, SystemClock()) as connection:
        return missing_privileges(connection)


def with_role(directory: Path, *without: str) -> Vcenter:
    sim = Vcenter(directory)
    sim.sessions.password_by_user[USER] = PASSWORD
    sim.authorization.add_role("Backup", tuple({need.privilege for need in NEEDS} - set(without)))
    sim.authorization.set(USER, "Backup", sim.root)
    for number in range(3):
        sim.add_machine(f"web{number}", [1 << 30])
    return sim


def test_an_administrator_lacks_nothing(tmp_path: Path) -> None:
    sim = Vcenter(tmp_path)
    sim.add_machine("web", [1 << 30])
    assert missing(sim, sim.user, sim.password) == []


def test_the_role_of_the_documentation_lacks_nothing(tmp_path: Path) -> None:
    assert missing(with_role(tmp_path), USER, PASSWORD) == []


def test_a_privilege_that_a_role_lacks_is_named_with_what_it_is_missing_on(tmp_path: Path) -> None:
    sim = with_role(tmp_path, "VirtualMachine.State.CreateSnapshot", "Network.Assign")
    found = {each.need.privilege: each for each in missing(sim, USER, PASSWORD)}
    assert set(found) == {"VirtualMachine.State.CreateSnapshot", "Network.Assign"}
    snapshot = found["VirtualMachine.State.CreateSnapshot"]
    assert (snapshot.need.purpose, snapshot.names, snapshot.count, snapshot.of) == (
        "backup",
        ("machine web0", "machine web1", "machine web2"),
        3,
        3,
    )


def test_a_privilege_that_is_missing_on_one_object_is_missing_there_alone(tmp_path: Path) -> None:
    sim = with_role(tmp_path)
    sim.authorization.add_role("Nothing", ())
    sim.authorization.set(USER, "Nothing", sim.named(Datastore, "datastore2"))
    found = missing(sim, USER, PASSWORD)
    assert {each.need.on for each in found} <= {"datastore"}
    assert all(each.names == ("datastore datastore2",) and each.of == 2 for each in found)


def test_the_administrator_of_a_cloud_lacks_nothing_on_what_is_his(tmp_path: Path) -> None:
    sim = Vcenter(tmp_path, cloud=True)
    sim.add_machine("web", [1 << 30])
    assert missing(sim, sim.user, sim.password) == []
