"""Tags, and places that machines are in, are no properties of machines; what changes of them is told all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from tests.contracts.test_vcenter_live import Following
from tests.sim.vcenter.vcenter import Vcenter
from vsa.hypervisors import MachineSeen
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.trust import Trust

GIB = 1 << 30


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Vcenter]:
    with Vcenter(tmp_path) as sim:
        for number in range(3):
            sim.add_machine(f"web{number}", [GIB])
        yield sim
        assert sim.unexpected == []


@pytest.fixture
def following(sim: Vcenter) -> Iterator[Following]:
    with Connection(sim.address, sim.user, sim.password, Trust(sim.certificate.read_text()), SystemClock()) as made:
        following = Following(made)
        following.names(3)
        yield following
        following.stop()


def told(following: Following) -> MachineSeen:
    """The next machine, which is the only one of its change."""
    while not (changes := following.next()).machines:
        assert not changes.gone
    (machine,) = changes.machines
    return machine


def test_a_tag_that_is_put_on_or_taken_off_is_told(sim: Vcenter, following: Following) -> None:
    web = sim.machine("web1")
    web.tag("tier:gold")
    assert (told(following).name, sim.tags.on(web.moid)[0].name) == ("web1", "gold")
    web.tag("backup:yes")
    assert told(following).tags == ("backup:yes", "tier:gold")
    web.untag("tier:gold")
    assert told(following).tags == ("backup:yes",)


def test_of_machines_with_one_name_only_the_tagged_one_is_told(sim: Vcenter, following: Following) -> None:
    twin = sim.add_machine("twin", [GIB], folder="vm")
    following.names(1)
    other = sim.add_machine("other", [GIB])
    following.names(1)
    other.rename("twin")
    told(following)
    twin.tag("tier:gold")
    seen = told(following)
    assert (seen.id.rpartition(":")[2], seen.tags) == (twin.instance_uuid, ("tier:gold",))


def test_a_machine_that_is_renamed_and_tagged_at_once_is_told_with_both(sim: Vcenter, following: Following) -> None:
    web = sim.machine("web2")
    with sim.changes.lock:
        web.tag("tier:gold")
        web.rename("100% web/2")
        web.tag("backup:yes")
    seen = told(following)
    while len(seen.tags) < 2:
        seen = told(following)
    assert (seen.name, seen.tags) == ("100% web/2", ("backup:yes", "tier:gold"))


def test_where_more_events_came_than_are_shown_nobodys_tags_are_missed(sim: Vcenter, following: Following) -> None:
    with sim.changes.lock:
        sim.machine("web0").tag("tier:gold")
        for number in range(300):
            sim.machine("web1").tag(f"many:{number}")
    found: dict[str, MachineSeen] = {}
    while {"web0", "web1"} - set(found):
        found |= {machine.name: machine for machine in following.next().machines}
    assert found["web0"].tags == ("tier:gold",)
    assert len(found["web1"].tags) == 300


def test_a_tag_of_something_else_is_nobodys_news(sim: Vcenter, following: Following) -> None:
    with sim.changes.lock:
        sim.tags.attach(sim.tags.tag("tier", "gold"), sim.datastore.moid, sim.user)
    sim.machine("web0").tag("tier:gold")
    assert told(following).name == "web0"


def test_machines_below_what_is_renamed_are_told_with_their_new_paths(sim: Vcenter, following: Following) -> None:
    sim.machine("web1").put("Shop")
    assert told(following).folder == "DC1/Shop"
    sim.machine("web1").machine.parent.rename("Store")
    seen = told(following)
    assert (seen.name, seen.folder) == ("web1", "DC1/Store")
    with sim.changes.lock:
        sim.cluster.rename("Cluster A")
    found: dict[str, str] = {}
    while len(found) < 3:
        found |= {machine.name: machine.resource_pool for machine in following.next().machines}
    assert set(found.values()) == {"DC1/Cluster A"}


def test_a_user_who_may_see_no_events_is_told_of_all_else(sim: Vcenter) -> None:
    sim.faults.plan("CreateCollectorForEvents", "NoPermission", times=1)
    with Connection(sim.address, sim.user, sim.password, Trust(sim.certificate.read_text()), SystemClock()) as made:
        following = Following(made)
        following.names(3)
        sim.machine("web0").power_off()
        assert told(following).power_state == "off"
        following.stop()
