"""A whole site for tests: `ingot up` on free ports, a directory of images, and what people would do with it."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from ingot.allinone import AllInOne, Ports
from ingot.faults import CommServeSilent
from ingot.rest import Connection, Rest, discovery
from proto.faults import RemoteFault
from runtime.clock import SystemClock

_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 120.0
ENDS = {"DONE", "DONE_WITH_WARNINGS", "FAILED", "CANCELLED"}


class Site:
    """Three real processes and the files that they work on."""

    def __init__(self, directory: Path, services: AllInOne, rest: Rest) -> None:
        self.directory = directory
        self.images = directory / "images"
        self.services = services
        self.rest = rest
        self.told: list[str] = []

    @property
    def repository(self) -> Path:
        return self.services.state / "repository"

    @property
    def landing(self) -> Path:
        return self.services.state / "restored"

    def metrics(self) -> list[str]:
        """What Prometheus is told by each service, line by line."""
        ports = [self.services.ports.metrics(service) for service in ("commserve", "mediaagent", "vsa")]
        answers = [httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False) for port in ports]
        return [line for answer in answers for line in answer.text.splitlines()]

    def wait(self, what: str, ready: Callable[[], Any]) -> Any:
        """What `ready` answers, when it is something; the CommServe may be away meanwhile."""
        clock, pause = SystemClock(), threading.Event()
        deadline = clock.monotonic_seconds() + _PATIENCE_SECONDS
        while True:
            found = ready()
            if found:
                return found
            assert clock.monotonic_seconds() < deadline, f"{what}: not within {_PATIENCE_SECONDS:.0f} s"
            pause.wait(_LOOK_SECONDS)

    def answers(self) -> bool:
        """Whether the CommServe does."""
        try:
            self.rest.get("/health")
        except CommServeSilent:
            return False
        return True

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job when it has ended."""

        def look() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self.rest.get(f"/jobs/{job['id']}")
            except CommServeSilent:
                return None
            return found if found["state"] in ENDS else None

        ended: dict[str, Any] = self.wait(f"job {job['id']}", look)
        return ended

    def protect(self, cron: str = "") -> dict[str, Any]:
        """A hypervisor for the images, a plan, and a rule that gives it every machine; the plan."""
        rest = self.rest
        agents = [agent["id"] for agent in rest.all("/agents", role="vsa")]
        settings = {"directory": str(self.images)}
        body = {"name": "lab", "kind": "images", "settings": settings, "agents": agents}
        hypervisor = rest.post("/hypervisors", body)
        pool = next(iter(rest.all("/pools")))
        plan: dict[str, Any] = rest.post(
            "/plans",
            {
                "name": "daily",
                "pool_id": pool["id"],
                "schedule": {"cron": cron},
                "retention": {"daily": 30, "last": 50},
            },
        )
        rest.post("/rules", {"name": "all", "plan_id": plan["id"]})
        discovered = self.ended(discovery(rest, hypervisor["id"]))
        assert discovered["state"] == "DONE", discovered
        return plan

    def backed_up(self, machine: str) -> dict[str, Any]:
        """A backup of one machine, now; its job when it ended."""
        return self.ended(self.begun(machine))

    def begun(self, machine: str) -> dict[str, Any]:
        """A job that backs up one machine, also while the CommServe is being started again."""

        def ask() -> dict[str, Any] | None:
            try:
                job: dict[str, Any] = self.rest.post(f"/machines/{machine}/backup")
            except CommServeSilent:
                return None
            except RemoteFault as fault:
                if fault.remote_code != "commserve.job_active":
                    raise
                # It was made, and the CommServe was killed before it could say so.
                [job] = self.rest.get("/jobs", kind="backup", machine_id=machine, limit=1)["items"]
            return job

        job: dict[str, Any] = self.wait("the CommServe", ask)
        return job

    def restored(self, point: str, name: str) -> dict[str, Any]:
        """All disks of a point below the landing directory; the job when it ended."""
        pool = next(iter(self.rest.all("/pools")))
        body = {"pool_id": pool["id"], "point": point, "directory": str(self.landing / name)}
        return self.ended(self.rest.post("/restores", body))

    def kill(self, service: str) -> None:
        """kill -9, once it runs; the supervisor starts it again."""
        os.kill(self.wait(service, lambda: self.services.pids()[service]), signal.SIGKILL)


def make_image(path: Path, megabytes: int, seed: int) -> None:
    """A disk of noise, text and holes."""
    chance = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as disk:
        for number in range(megabytes):
            kind = chance.randrange(4)
            if kind == 0:
                disk.seek((number + 1) << 20)
            elif kind == 1:
                disk.write(chance.randbytes(1 << 20))
            else:
                disk.write((b"%d the same words again\n" % chance.randrange(9) * 50_000)[: 1 << 20])
        disk.truncate(megabytes << 20)


def change_image(path: Path, chance: random.Random) -> None:
    """A day's writes, in place: the machine is off meanwhile."""
    size = path.stat().st_size
    with path.open("r+b") as disk:
        for _ in range(chance.randrange(1, 20)):
            disk.seek(chance.randrange(size))
            disk.write(chance.randbytes(chance.randrange(1, 100_000))[: size - disk.tell()])


@contextmanager
def site(directory: Path, *images: int) -> Iterator[Site]:
    """A site with machines web0, web1, ... of so many megabytes each."""
    for number, megabytes in enumerate(images):
        make_image(directory / "images" / f"web{number}" / "disk-0.raw", megabytes, number)
        (directory / "images" / f"web{number}" / "machine.json").write_text(f'{{"id": "web{number}"}}')
    with ExitStack() as stack:
        told: list[str] = []
        services = AllInOne(directory / "state", Ports.free(), SystemClock(), told.append)
        stack.callback(services.stop)
        services.start()
        rest = stack.enter_context(Rest(Connection(services.url, services.token_file)))
        found = Site(directory, services, rest)
        found.told = told
        yield found
