"""Machines that leave a vCenter and go on in another, through the three daemons: into a cloud, into one built anew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot.rest import discovery
from tests.sim.vcenter.inventory import Network
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.vsphere.company import Company, company
from tests.system.vsphere.office import MIB, scribble


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Company]:
    with company(tmp_path) as made:
        yield made


def held_by(machine: SimMachine) -> list[bytes]:
    return [machine.disk_bytes(number) for number in range(len(machine.machine.disks))]


def stored(job: dict[str, Any]) -> int:
    return int(job["result"]["stored_bytes"])


def test_a_machine_is_restored_into_a_cloud_and_protected_there_without_anyone_acting(
    site: Company, tmp_path: Path
) -> None:
    rng = random.Random(7)
    with Vcenter(tmp_path / "vc1") as here, Vcenter(tmp_path / "cloud", name="cloud", cloud=True) as cloud:
        Network(here, "Shop", here.datacenter)
        web = here.add_machine("web", [24 * MIB, 3 * MIB], networks=["Shop"])
        scribble(rng, web, 30)
        web.guest_write(0, MIB, rng.randbytes(8 * MIB))
        site.rule("DC1", site.plan("by hand"))
        nightly = site.plan("every minute", "* * * * *")
        site.rule("SDDC-Datacenter/Workloads", nightly)
        there = site.add(cloud)
        site.watched(site.add(here))
        site.watched(there)
        assert list(site.machines()) == ["web"], "what belongs to the provider is not shown"
        machine = site.machines()["web"]["id"]
        points = []
        for _ in range(2):
            scribble(rng, web, 5)
            points.append((site.backed_up(machine), held_by(web)))
        web.destroy()
        site.running.wait("the machine to be gone", lambda: not site.machines())

        restore = ("machine", "restore", "web", "--to-hypervisor", "cloud", "--keep-identity", "--power-on")
        assert "vsa.place_missing" in site.tried(*restore).stdout
        site.ingot(*restore, "--network", "Shop=sddc-cgw-network-1")

        back = cloud.machine("web")
        assert held_by(back) == points[-1][1]
        known = {job["id"] for job, _ in points}
        site.wait("the rule", lambda found: found["web"]["plan_id"] == nightly)
        assert (site.machines()["web"]["id"], site.machines()["web"]["hypervisor_id"]) == (machine, there)
        scheduled = site.next_backup(machine, known)
        assert scheduled["state"] == "DONE", scheduled
        points.append((scheduled, held_by(back)))
        assert [disk["read"] for disk in scheduled["result"]["disks"]] == ["full", "full"]
        assert stored(scheduled) < stored(points[0][0]) / 4, "what the pool has is not stored again"
        scribble(rng, back, 5)
        points.append((site.backed_up(machine), held_by(back)))
        assert [disk["read"] for disk in points[-1][0]["result"]["disks"]] == ["incremental", "incremental"]
        for job, held in points:
            site.assert_restores(job["result"]["recovery_point"], held)
        assert {point["machine_id"] for point in site.rest.all("/points")} == {machine}
        assert back.snapshots == []


def test_the_machines_of_a_vcenter_that_was_built_anew_go_on_in_the_new_one(site: Company, tmp_path: Path) -> None:
    rng = random.Random(8)
    with Vcenter(tmp_path / "vc1-new", name="vc1-new") as new:
        with Vcenter(tmp_path / "vc1") as old:
            olds = [old.add_machine(name, [16 * MIB]) for name in ("web", "db")]
            plan = site.plan("by hand")
            site.rule("DC1", plan)
            site.add(old)
            ids = {name: each["id"] for name, each in site.machines().items()}
            points = []
            for machine in olds:
                machine.guest_write(0, 0, rng.randbytes(6 * MIB))
                points.append((site.backed_up(ids[machine.name]), held_by(machine)))
        new.add_machine("not of the old one", [MIB])  # so that ids differ
        web, db = (machine.into_rebuilt(new) for machine in olds)
        web.write_untracked(0, 9 * MIB, rng.randbytes(2 * MIB))  # as of a disk that came from elsewhere
        there = site.add(new)
        adopted = site.ingot("hypervisor", "adopt", "vc1", "vc1-new")

        assert adopted["machines"] == 2
        found = site.machines()
        assert {name: found[name]["id"] for name in ids} == ids
        assert len(found) == 3
        for name, machine in (("web", web), ("db", db)):
            assert (found[name]["plan_id"], found[name]["hypervisor_id"]) == (plan, there)
            for read in ("full", "incremental"):
                scribble(rng, machine, 4)
                job = site.backed_up(ids[name])
                assert [disk["read"] for disk in job["result"]["disks"]] == [read], job["result"]["disks"]
                points.append((job, held_by(machine)))
        for job, held in points:
            site.assert_restores(job["result"]["recovery_point"], held)
        assert site.running.ended(discovery(site.rest, there))["warnings"] == []
        assert len(site.machines()) == 3
