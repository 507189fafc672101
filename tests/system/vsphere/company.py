"""A site with vCenters that people add to it by the command line, and what they see over REST."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ingot.rest import Rest
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.services.site import ENDS, Site, site
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


@contextmanager
def company(directory: Path) -> Iterator[Company]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{NBDKIT.parent}:{os.environ['PATH']}")
        with site(directory / "site") as running:
            yield Company(running, directory)
