"""Discovery of a large vCenter, and how soon a change is told: `python -m bench.vcenter_inventory [machines]`.

The simulated vCenter is a process of its own; this one is what a VSA is while it discovers. Peak memory is that of the
whole process, pyVmomi included.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pyVmomi import vim

from runtime.clock import SystemClock
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.inventory import Surroundings, machines_of
from vsa.hypervisors.vcenter.live import Live
from vsa.hypervisors.vcenter.trust import Trust

_CHANGES = 20


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "tests.sim.vcenter", "--directory", directory, "--machines", str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
            assert simulator.stdout is not None
            said = json.loads(simulator.stdout.readline())
            trust = Trust(Path(said["certificate"]).read_text())
            with Connection(said["address"], said["user"], said["password"], trust, SystemClock()) as connection:
                discover(connection, count)
                follow(connection, count)
            simulator.terminate()


def discover(connection: Connection, count: int) -> None:
    start, cpu = time.perf_counter(), time.process_time()
    machines = list(machines_of(connection, Surroundings(connection)))
    seconds, spent = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"discovery of {len(machines)} machines: {seconds:.1f} s, {spent:.1f} s of CPU here, peak {peak:.0f} MiB")
    if len(machines) != count:
        raise SystemExit(f"expected {count}")


def follow(connection: Connection, count: int) -> None:
    stop, told, all_told = threading.Event(), threading.Event(), threading.Event()
    wanted = [""]

    def run() -> None:
        first = 0
        for changes in Live(connection).follow(lambda: not stop.is_set()):
            first += len(changes.machines)
            if first >= count:
                all_told.set()
            if any(machine.name == wanted[0] for machine in changes.machines):
                told.set()

    start = time.perf_counter()
    thread = threading.Thread(target=run)
    thread.start()
    all_told.wait()
    print(f"live inventory: all {count} told after {time.perf_counter() - start:.1f} s")
    rows = connection.retrieve(vim.VirtualMachine, ["name"])
    machines = [machine for machine, _ in (next(rows) for _ in range(_CHANGES))]
    rows.close()
    times = []
    for number, machine in enumerate(machines):
        wanted[0] = f"renamed {number}"
        told.clear()
        start = time.perf_counter()
        connection.tasks.run(machine, machine.Rename_Task, wanted[0])
        told.wait()
        times.append(time.perf_counter() - start)
    print(f"a change told after: median {statistics.median(times):.2f} s, longest {max(times):.2f} s of {len(times)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:.0f} MiB")
    stop.set()
    thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
