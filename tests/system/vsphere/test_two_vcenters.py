"""Machines that leave a vCenter and go on in another, through the three daemons: into a cloud, into one built anew."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot.rest import Rest, discovery
from tests.sim.vcenter.inventory import Network
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.services.site import ENDS, Site, site
from tests.system.vsphere.office import MIB, scribble
from tests.vsa.hypervisors.vcenter.site import NBDKIT


class Company:
    """A site, and vCenters that are added to it with the commands that people type."""

    def __init__(self, running: Site, directory: Path) -> None:
        self.running = running
        self.directory = directory

    @property
    def rest(self) -> Rest:
        return self.running.rest

    def tried(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of a person, with its document."""
        who = ["--commserve", self.running.services.url, "--token-file", str(self.running.services.token_file)]
        command = [sys.executable, "-m", "ingot", *words, *who, "--json"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)

    def ingot(self, *words: str) -> dict[str, Any]:
        done = self.tried(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def add(self, vcenter: Vcenter) -> str:
        secret = self.directory / f"{vcenter.name}.password"
        secret.touch(0o600)
        secret.write_text(vcenter.password + "\n")
        where = ["--address", vcenter.address, "--user", vcenter.user, "--password-file", str(secret)]
        how = ["--fingerprint", vcenter.fingerprint, "--vddk", "/opt/vddk"]
        return str(self.ingot("hypervisor", "add", vcenter.name, "--kind", "vcenter", *where, *how)["id"])

    def plan(self, name: str, cron: str = "") -> str:
        pool = next(iter(self.rest.all("/pools")))
        promise = {"schedule": {"cron": cron}, "retention": {"last": 50}, "hold": {"quiesce": "crash"}}
        return str(self.rest.post("/plans", {"name": name, "pool_id": pool["id"], **promise})["id"])

    def rule(self, folder: str, plan: str) -> None:
        self.rest.post(
            "/rules", {"name": folder.replace("/", " "), "plan_id": plan, "conditions": {"folders": [folder]}}
        )

    def machines(self) -> dict[str, dict[str, Any]]:
        """Those that are there, by name."""
        found = [each for each in self.rest.all("/machines") if each["gone_at"] is None]
        by_name = {each["name"]: each for each in found}
        assert len(by_name) == len(found), f"one machine twice: {found}"
        return by_name

    def wait(self, what: str, ready: Callable[[dict[str, dict[str, Any]]], Any]) -> None:
        self.running.wait(what, lambda: ready(self.machines()))

    def watched(self, hypervisor: str) -> None:
        """Until somebody does, and has seen all that is there."""

        def look() -> bool:
            jobs = self.rest.all("/jobs", kind="watch", hypervisor_id=hypervisor)
            return any(job["progress"].get("done_bytes") for job in jobs)

        self.running.wait("a watch", look)

    def backed_up(self, machine: str) -> dict[str, Any]:
        job = self.running.backed_up(machine)
        assert job["state"] == "DONE", job
        return job

    def next_backup(self, machine: str, after: set[str]) -> dict[str, Any]:
        """The first backup of a machine that is none of these, when it has ended."""

        def look() -> dict[str, Any] | None:
            jobs = self.rest.all("/jobs", kind="backup", machine_id=machine)
            ended = [job for job in jobs if job["id"] not in after and job["state"] in ENDS]
            return min(ended, key=lambda job: str(job["id"]), default=None)

        found: dict[str, Any] = self.running.wait("a scheduled backup", look)
        return found

    def assert_restores(self, point: str, held: list[bytes]) -> None:
        name = f"point-{point}"
        job = self.running.restored(point, name)
        assert job["state"] == "DONE", job
        for number, data in enumerate(held):
            assert (self.running.landing / name / f"disk-{number}.raw").read_bytes() == data, point


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{NBDKIT.parent}:{os.environ['PATH']}")
        with site(tmp_path / "site") as running:
            yield Company(running, tmp_path)


def held_by(machine: SimMachine) -> list[bytes]:
    return [machine.disk_bytes(number) for number in range(len(machine.machine.disks))]


def stored(job: dict[str, Any]) -> int:
    return int(job["result"]["stored_bytes"])


def test_a_machine_is_restored_into_a_cloud_and_protected_there_without_anyone_acting(
    company: Company, tmp_path: Path
) -> None:
    rng = random.Random(7)
    with Vcenter(tmp_path / "vc1") as here, Vcenter(tmp_path / "cloud", name="cloud", cloud=True) as cloud:
        Network(here, "Shop", here.datacenter)
        web = here.add_machine("web", [24 * MIB, 3 * MIB], networks=["Shop"])
        scribble(rng, web, 30)
        web.guest_write(0, MIB, rng.randbytes(8 * MIB))
        company.rule("DC1", company.plan("by hand"))
        nightly = company.plan("every minute", "* * * * *")
        company.rule("SDDC-Datacenter/Workloads", nightly)
        there = company.add(cloud)
        company.watched(company.add(here))
        company.watched(there)
        assert list(company.machines()) == ["web"], "what belongs to the provider is not shown"
        machine = company.machines()["web"]["id"]
        points = []
        for _ in range(2):
            scribble(rng, web, 5)
            points.append((company.backed_up(machine), held_by(web)))
        web.destroy()
        company.running.wait("the machine to be gone", lambda: not company.machines())

        restore = ("machine", "restore", "web", "--to-hypervisor", "cloud", "--keep-identity", "--power-on")
        assert "vsa.place_missing" in company.tried(*restore).stdout
        company.ingot(*restore, "--network", "Shop=sddc-cgw-network-1")

        back = cloud.machine("web")
        assert held_by(back) == points[-1][1]
        known = {job["id"] for job, _ in points}
        company.wait("the rule", lambda found: found["web"]["plan_id"] == nightly)
        assert (company.machines()["web"]["id"], company.machines()["web"]["hypervisor_id"]) == (machine, there)
        while True:  # what began before the restore had ended says so, and is tried again
            scheduled = company.next_backup(machine, known)
            known.add(scheduled["id"])
            if scheduled["state"] != "FAILED":
                break
        assert scheduled["state"] == "DONE", scheduled
        points.append((scheduled, held_by(back)))
        assert [disk["read"] for disk in scheduled["result"]["disks"]] == ["full", "full"]
        assert stored(scheduled) < stored(points[0][0]) / 4, "what the pool has is not stored again"
        scribble(rng, back, 5)
        points.append((company.backed_up(machine), held_by(back)))
        assert [disk["read"] for disk in points[-1][0]["result"]["disks"]] == ["incremental", "incremental"]
        for job, held in points:
            company.assert_restores(job["result"]["recovery_point"], held)
        assert {point["machine_id"] for point in company.rest.all("/points")} == {machine}
        assert back.snapshots == []


def test_the_machines_of_a_vcenter_that_was_built_anew_go_on_in_the_new_one(company: Company, tmp_path: Path) -> None:
    rng = random.Random(8)
    with Vcenter(tmp_path / "vc1-new", name="vc1-new") as new:
        with Vcenter(tmp_path / "vc1") as old:
            olds = [old.add_machine(name, [16 * MIB]) for name in ("web", "db")]
            plan = company.plan("by hand")
            company.rule("DC1", plan)
            company.add(old)
            ids = {name: each["id"] for name, each in company.machines().items()}
            points = []
            for machine in olds:
                machine.guest_write(0, 0, rng.randbytes(6 * MIB))
                points.append((company.backed_up(ids[machine.name]), held_by(machine)))
        new.add_machine("not of the old one", [MIB])  # so that ids differ
        web, db = (machine.into_rebuilt(new) for machine in olds)
        web.write_untracked(0, 9 * MIB, rng.randbytes(2 * MIB))  # as of a disk that came from elsewhere
        there = company.add(new)
        adopted = company.ingot("hypervisor", "adopt", "vc1", "vc1-new")

        assert adopted["machines"] == 2
        found = company.machines()
        assert {name: found[name]["id"] for name in ids} == ids
        assert len(found) == 3
        for name, machine in (("web", web), ("db", db)):
            assert (found[name]["plan_id"], found[name]["hypervisor_id"]) == (plan, there)
            for read in ("full", "incremental"):
                scribble(rng, machine, 4)
                job = company.backed_up(ids[name])
                assert [disk["read"] for disk in job["result"]["disks"]] == [read], job["result"]["disks"]
                points.append((job, held_by(machine)))
        for job, held in points:
            company.assert_restores(job["result"]["recovery_point"], held)
        assert company.running.ended(discovery(company.rest, there))["warnings"] == []
        assert len(company.machines()) == 3
