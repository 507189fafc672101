"""How soon a change in a large vCenter is shown over REST: `python -m bench.vcenter_watch [machines] [rounds]`.

A simulated vCenter as a process of its own, the three services of `ingot up`, and this process, which changes machines
and asks the CommServe for them until it shows what changed: one kind of change after another, `rounds` of each.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from ingot.allinone import AllInOne, Ports
from ingot.rest import Connection, Rest
from runtime.clock import SystemClock

_LOOK_SECONDS = 0.02


class Change(NamedTuple):
    """What is asked of the simulator; the machine that is then looked for by its name, and whether it shows."""

    action: str
    what: dict[str, Any]
    machine: str
    shows: Callable[[Any], bool]


def main(count: int, rounds: int) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        vcenter = stack.enter_context(simulated(directory / "vcenter", count))
        services = AllInOne(directory / "site", Ports.free(), SystemClock(), lambda _: None)
        stack.callback(services.stop)
        services.start()
        rest = stack.enter_context(Rest(Connection(services.url, services.token_file)))
        authority = Path(vcenter["certificate"]).read_text()
        settings = {"address": vcenter["address"], "user": vcenter["user"], "authority": authority}
        agents = [agent["id"] for agent in rest.all("/agents", role="vsa")]
        body = {"name": "vc", "kind": "vcenter", "settings": settings, "agents": agents}
        start = time.perf_counter()
        rest.post("/hypervisors", {**body, "secret": vcenter["password"]})
        until(lambda: len(list(rest.all("/machines"))) == count)
        print(f"{count} machines listed {time.perf_counter() - start:.1f} s after their vCenter was added")
        control = stack.enter_context(httpx.Client(base_url=f"https://{vcenter['address']}", verify=False))
        first = {"machine": "vm00001", "to": "first"}
        seconds_until_seen(rest, control, Change("rename", first, "first", lambda found: found is not None))
        print(f"watched {time.perf_counter() - start:.1f} s after")
        times: dict[str, list[float]] = {}
        for number in range(rounds):
            for kind, change in changes(number).items():
                times.setdefault(kind, []).append(seconds_until_seen(rest, control, change))
        for kind, took in times.items():
            print(f"{kind}: median {statistics.median(took):.2f} s, longest {max(took):.2f} s of {len(took)}")
        ordered = sorted(each for took in times.values() for each in took)
        most = ordered[-1 - len(ordered) // 20]
        print(f"all: median {statistics.median(ordered):.2f} s, 95 of 100 within {most:.2f} s")


def changes(number: int) -> dict[str, Change]:
    """One of each kind, of a machine of its own and a new one."""
    name, new = f"vm{number + 100:05d}", f"new {number}"
    of = {"machine": name}

    def has(member: str, value: Any) -> Callable[[Any], bool]:
        return lambda found: found is not None and found[member] == value

    return {
        "tag on": Change("tag", {**of, "tag": "tier:gold"}, name, has("tags", ["tier:gold"])),
        "tag off": Change("untag", {**of, "tag": "tier:gold"}, name, has("tags", [])),
        "attribute": Change("attribute", {**of, "name": "a", "value": "b"}, name, has("attributes", {"a": "b"})),
        "folder": Change("folder", {**of, "to": "Shop"}, name, has("folder", "DC1/Shop")),
        "power": Change("power", {**of, "to": "off"}, name, has("power_state", "off")),
        "new": Change("machine", {"name": new, "disks": [1 << 30]}, new, has("name", new)),
        "gone": Change("destroy", {"machine": new}, new, lambda found: found is None),
        "name": Change("rename", {**of, "to": f"{name} renamed"}, f"{name} renamed", has("power_state", "off")),
    }


def seconds_until_seen(rest: Rest, control: httpx.Client, change: Change) -> float:
    """From the moment when the vCenter has changed until the CommServe shows it."""
    control.post(f"/sim/{change.action}", json=change.what).raise_for_status()
    start = time.perf_counter()
    until(lambda: change.shows(next(iter(rest.all("/machines", name=change.machine)), None)))
    return time.perf_counter() - start


def until(ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(_LOOK_SECONDS)


@contextmanager
def simulated(directory: Path, count: int) -> Iterator[dict[str, str]]:
    """What its first line says."""
    command = [sys.executable, "-m", "tests.sim.vcenter", "--directory", str(directory), "--machines", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        try:
            yield json.loads(simulator.stdout.readline())
        finally:
            simulator.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, int(sys.argv[2]) if len(sys.argv) > 2 else 10)
