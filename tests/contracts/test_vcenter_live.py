"""The inventory of a vCenter as it changes, told by simulated vCenters of two makers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVmomi import vim

from runtime.clock import SystemClock
from tests.sim.vcenter.vcenter import Vcenter
from tests.vcsim.server import Vcsim
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.live import Changes, Live
from vsa.hypervisors.vcenter.trust import Trust


@pytest.fixture(params=["sim", "vcsim"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    if request.param == "vcsim":
        with Vcsim(tmp_path, "-vm", "3") as vcsim:
            yield from _connected(vcsim)
    else:
        with Vcenter(tmp_path) as sim:
            for number in range(6):
                sim.add_machine(f"web{number}", [1 << 30])
            yield from _connected(sim)


def _connected(peer: Vcenter | Vcsim) -> Iterator[Connection]:
    trust = Trust(peer.certificate.read_text())
    with Connection(peer.address, peer.user, peer.password, trust, SystemClock()) as connection:
        yield connection


class Following:
    """Another thread follows; a test takes what it is told."""

    def __init__(self, connection: Connection) -> None:
        self.failed: list[Exception] = []
        self._told: queue.Queue[Changes] = queue.Queue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(Live(connection, wait_seconds=1),))
        self._thread.start()

    def _follow(self, live: Live) -> None:
        try:
            for changes in live.follow(lambda: not self._stop.is_set()):
                self._told.put(changes)
        except Exception as error:  # noqa: BLE001 # for the test to see
            self.failed.append(error)
            self._told.put(Changes())

    def names(self, count: int) -> set[str]:
        """Of the next machines that are told of, until there are so many."""
        found: set[str] = set()
        while len(found) < count:
            found |= {machine.name for machine in self.next().machines}
        return found

    def gone(self) -> list[str]:
        while not (told := self.next()).gone:
            assert not self.failed
        return told.gone

    def next(self) -> Changes:
        told = self._told.get(timeout=60)
        assert not self.failed
        return told

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def following(connection: Connection) -> Iterator[Following]:
    following = Following(connection)
    yield following
    following.stop()


def machines(connection: Connection) -> dict[str, vim.VirtualMachine]:
    rows = connection.retrieve(vim.VirtualMachine, ["name"])
    return dict(sorted((values["name"], machine) for machine, values in rows))


def test_every_machine_is_told_of_and_then_what_changes(connection: Connection, following: Following) -> None:
    all_of_them = machines(connection)
    assert following.names(len(all_of_them)) == set(all_of_them)
    name, machine = next(iter(all_of_them.items()))
    connection.tasks.run(machine, machine.PowerOffVM_Task)
    (told,) = following_until(following, name)
    assert told == "off"
    connection.tasks.run(machine, machine.Rename_Task, "another name")
    assert following.names(1) == {"another name"}


def test_a_machine_that_is_destroyed_is_told_as_gone(connection: Connection, following: Following) -> None:
    all_of_them = machines(connection)
    following.names(len(all_of_them))
    machine = next(iter(all_of_them.values()))
    uuid = connection.properties(machine, "summary.config.instanceUuid")["summary.config.instanceUuid"].lower()
    connection.tasks.run(machine, machine.PowerOffVM_Task)
    connection.tasks.run(machine, machine.Destroy_Task)
    assert following.gone() == [f"{connection.instance_uuid}:{uuid}"]


def test_where_the_session_ends_only_what_changed_meanwhile_is_told(
    connection: Connection, following: Following
) -> None:
    all_of_them = machines(connection)
    following.names(len(all_of_them))
    first, second, *_ = all_of_them.values()
    connection.tasks.run(second, second.PowerOffVM_Task)
    following.names(1)
    connection.content.sessionManager.Logout()
    connection.read(lambda: first.name)  # logs in again, if the live inventory did not yet
    connection.tasks.run(first, first.PowerOffVM_Task)
    assert following.names(1) == {next(iter(all_of_them))}


def test_a_collector_that_is_gone_is_made_anew(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(connection, wait_seconds=1)
    count = len(machines(connection))
    rounds: list[Changes] = []
    collectors = []
    make = live._collector

    def noted():  # type: ignore[no-untyped-def]
        class Noting:
            def __enter__(self) -> object:
                self.inner = make()
                collectors.append(self.inner.__enter__())
                return collectors[-1]

            def __exit__(self, *error: object) -> object:
                return self.inner.__exit__(*error)  # type: ignore[arg-type]

        return Noting()

    monkeypatch.setattr(live, "_collector", noted)
    for changes in live.follow(lambda: len(collectors) < 2 or not rounds[-1:] or bool(rounds[-1].machines)):
        rounds.append(changes)
        if len(collectors) == 1 and sum(len(each.machines) for each in rounds) == count:
            connection.call(collectors[0].DestroyPropertyCollector)
    assert len(collectors) == 2
    assert sum(len(each.machines) for each in rounds) == count  # nothing changed, so nothing is told twice


def following_until(following: Following, name: str) -> list[str]:
    while True:
        found = [machine.power_state for machine in following.next().machines if machine.name == name]
        if found:
            return found
