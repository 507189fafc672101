"""The whole way with vSphere once: a simulated vCenter, three services, backups of what changed, and the way back.

`make demo-vsphere`, which is `python -m tests.sim.demo`. Everything goes through the REST interface that the commands
use; the vCenter is simulated (tests/sim/vcenter), and so is the customer's VDDK behind nbdkit. Ends with a status other
than 0 when what comes back is not, byte for byte, what the machine had.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ingot.allinone import AllInOne, Ports
from ingot.quantities import seconds_text, size_text, table
from ingot.rest import Connection, Rest, discovery
from runtime.clock import SystemClock
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter

T = TypeVar("T")
MIB = 1 << 20
DISK_BYTES = (512 * MIB, 128 * MIB)
DATA_BYTES = 96 * MIB
CHANGES = 40  # pieces of 64 KiB that the guest writes between two backups
NBDKIT = Path(__file__).with_name("vcenter") / "nbdkit"
_ENDS = ("DONE", "DONE_WITH_WARNINGS", "FAILED", "CANCELLED")


class Failed(Exception):
    """Something is not as it should be."""


@dataclass
class Demo:
    """One run."""

    work: Path
    steps: list[tuple[str, str, str]] = field(default_factory=list)

    def run(self) -> None:
        with ExitStack() as stack:
            vcenter = stack.enter_context(Vcenter(self.work / "vcenter"))
            web = self._fill(vcenter)
            os.environ["PATH"] = f"{NBDKIT.parent}{os.pathsep}{os.environ['PATH']}"  # where the VSA looks for it
            services = AllInOne(self.work / "state", Ports.free(), SystemClock(), lambda _: None)
            stack.callback(services.stop)
            self._step("three services up, certificates, a repository", services.start)
            rest = stack.enter_context(Rest(Connection(services.url, services.token_file)))
            hypervisor = self._add(rest, vcenter)
            machine_id = f"{vcenter.instance_uuid}:{web.instance_uuid}"
            first = self._backup(rest, "full backup", machine_id)
            before = _contents(web)
            _change(web, seed=1)
            second = self._backup(rest, "a day later: only what changed", machine_id)
            after = _contents(web)
            _no_snapshots(vcenter)
            self._restore(
                rest, "restore of the second, a new machine", second, hypervisor, vcenter, "web01-restored", after
            )
            self._restore(
                rest, "restore of the first, a new machine", first, hypervisor, vcenter, "web01-day-one", before
            )
            _change(web, seed=2)
            web.power_off()
            self._in_place(rest, second, hypervisor, web, after)
            _no_snapshots(vcenter)

    def _fill(self, vcenter: Vcenter) -> SimMachine:
        web = vcenter.add_machine(
            "web01", list(DISK_BYTES), firmware="efi", tags=["protection:gold"], networks=["VM Network", "DPG-10"]
        )
        vcenter.add_machine("scratch", [64 * MIB])
        chance = random.Random(0)
        for at in range(0, DATA_BYTES, MIB):
            web.guest_write(0, at * 3, chance.randbytes(MIB))
        web.guest_write(1, 5 * MIB, b"a second disk" * 10_000)
        return web

    def _add(self, rest: Rest, vcenter: Vcenter) -> str:
        agents = [agent["id"] for agent in rest.all("/agents", role="vsa")]
        settings = {
            "address": vcenter.address,
            "user": vcenter.user,
            "authority": vcenter.certificate.read_text(),
            "nbd": {"vddk": "/opt/vmware-vix-disklib-distrib"},
        }
        body = {"name": "vc1", "kind": "vcenter", "settings": settings, "secret": vcenter.password, "agents": agents}
        hypervisor = rest.post("/hypervisors", body)
        pool = next(iter(rest.all("/pools")))
        plan = rest.post(
            "/plans",
            {"name": "daily", "pool_id": pool["id"], "schedule": {"cron": ""}, "retention": {"daily": 30}},
        )
        rule = {"name": "gold", "plan_id": plan["id"], "conditions": {"tags": ["protection:gold"]}}
        rest.post("/rules", rule)
        self._step(
            "discovery of 2 machines, 1 matched by a rule", lambda: _ended(rest, discovery(rest, hypervisor["id"]))
        )
        return str(hypervisor["id"])

    def _backup(self, rest: Rest, what: str, machine_id: str) -> dict[str, Any]:
        job = self._step(what, lambda: _ended(rest, rest.post(f"/machines/{machine_id}/backup")))
        result: dict[str, Any] = job["result"]
        name, seconds, _ = self.steps.pop()
        said = f"{size_text(result['read_bytes'])} read, {size_text(result['new_bytes'])} new"
        self.steps.append((name, seconds, said))
        return result

    def _restore(
        self,
        rest: Rest,
        what: str,
        backup: dict[str, Any],
        hypervisor: str,
        vcenter: Vcenter,
        name: str,
        expected: list[str],
    ) -> None:
        target = {"hypervisor_id": hypervisor, "how": "new", "name": name}
        self._bring_back(rest, what, backup, target)
        _compare(what, vcenter.machine(name), expected)

    def _in_place(
        self, rest: Rest, backup: dict[str, Any], hypervisor: str, web: SimMachine, expected: list[str]
    ) -> None:
        what = "the machine itself back to the second, only what differs"
        self._bring_back(rest, what, backup, {"hypervisor_id": hypervisor, "how": "in_place"})
        _compare(what, web, expected)

    def _bring_back(self, rest: Rest, what: str, backup: dict[str, Any], target: dict[str, Any]) -> None:
        pool = next(iter(rest.all("/pools")))
        body = {"pool_id": pool["id"], "point": backup["recovery_point"], "machine": target}
        job = self._step(f"{what}, byte for byte", lambda: _ended(rest, rest.post("/restores", body)))
        name, seconds, _ = self.steps.pop()
        self.steps.append((name, seconds, f"{size_text(job['result']['bytes_written'])} written"))

    def _step(self, what: str, work: Callable[[], T]) -> T:
        print(f"{what} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        result = work()
        self.steps.append((what, seconds_text(time.perf_counter() - began), ""))
        return result


def _contents(machine: SimMachine) -> list[str]:
    return [machine.digest(number) for number in range(len(DISK_BYTES))]


def _change(machine: SimMachine, seed: int) -> None:
    """A day in the life of a guest."""
    chance = random.Random(seed)
    for _ in range(CHANGES):
        machine.guest_write(0, chance.randrange(0, DISK_BYTES[0] - 65536) // 4096 * 4096, chance.randbytes(65536))
    machine.guest_write(1, 7 * MIB, b"and more" * 1000)


def _compare(what: str, machine: SimMachine, expected: list[str]) -> None:
    if _contents(machine) != expected:
        raise Failed(f"{what}: the disks of {machine.name} are not what was backed up")


def _no_snapshots(vcenter: Vcenter) -> None:
    for machine in vcenter.machines():
        if machine.roots or machine.consolidation_needed:
            raise Failed(f"{machine.name}: a snapshot was left")


def _ended(rest: Rest, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it has ended. Raises Failed when it did not end well; says its warnings."""
    pause = threading.Event()
    while (found := rest.get(f"/jobs/{job['id']}"))["state"] not in _ENDS:
        pause.wait(0.2)
    for warning in found["warnings"]:
        print(f"  warning: {warning}", file=sys.stderr)
    if not found["state"].startswith("DONE"):
        why = found["fault"]["message"] if found["fault"] else found["state"]
        raise Failed(f"{found['kind']}: {why}")
    return found


def main() -> int:
    work = Path(tempfile.mkdtemp(prefix="ingot-demo-vsphere-"))
    demo = Demo(work)
    try:
        demo.run()
    except Failed as failed:
        print(f"demo-vsphere: {failed}\n(everything is in {work})", file=sys.stderr)
        return 1
    print("\n".join(table(("STEP", "TIME", "BYTES"), demo.steps, frozenset({1}))))
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
