"""Source-side backups through a MediaAgent beside the same backups with the pool at hand, in one run.

python -m bench.services --disks IMAGE [IMAGE ...] [--work DIR] [--runs N] [--verify HOW] [--delay-ms N] > rows.jsonl

One run: a machine's first backup (new data), the same again (known data, all of it read), a restore of it to files,
each embedded and then remote; then how many fingerprints a second are located by a MediaAgent that was just started.
The MediaAgent is a process of its own on the same machine, reached over TLS on loopback. Images are in the page cache.
With --delay-ms the second backup once more, without and with so much time there and back (bench.line).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.engine import warm
from bench.rows import Row, write

SIDE = (sys.executable, "-m", "bench.service_side")
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_bytes(pid: int) -> int:
    """The most memory that a process held so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) << 10


class Served:
    """A MediaAgent in a process of its own."""

    def __init__(self, work: Path, verify: str) -> None:
        command = [*SIDE, "serve", str(work), verify]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.ports, self.pid = (str(told["control"]), str(told["data"])), int(told["pid"])

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def served(work: Path, verify: str) -> Iterator[Served]:
    agent = Served(work, verify)
    try:
        yield agent
    finally:
        agent.close()


def side(*words: str | Path) -> dict[str, Any]:
    """What a program of ours did, as it says."""
    command = [*SIDE, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def told(benchmark: str, subject: str, result: dict[str, Any], server_cpu: float, run: int) -> None:
    """Rows of one verb."""
    gib = result["bytes"] / 2**30
    write(Row(benchmark, subject, "wall", result["wall"], "s", run))
    write(Row(benchmark, subject, "speed", result["bytes"] / 2**20 / result["wall"], "MiB/s", run))
    write(Row(benchmark, subject, "cpu of the writer", result["cpu"] / gib, "s/GiB", run))
    if server_cpu:
        write(Row(benchmark, subject, "cpu of the MediaAgent", server_cpu / gib, "s/GiB", run))


def one_run(disks: list[Path], work: Path, verify: str, run: int) -> None:
    """Every verb, embedded and remote."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    near, far = work / "embedded", work / "remote"
    for place in (near, far):
        side("create", place)
    with served(far, verify) as agent:
        for benchmark, verb, files in (
            ("new data", "backup", disks),
            ("known data", "backup", disks),
            ("restore", "restore", []),
        ):
            for subject, place, ports in (("embedded", near, ()), ("remote", far, agent.ports)):
                warm(
                    *files,
                    *(each for each in (place / "repository").rglob("*") if verb == "restore" and each.is_file()),
                )
                before = cpu_seconds(agent.pid)
                result = side(verb, place, *files, *(("--ports", *ports) if ports else ()))
                used = cpu_seconds(agent.pid) - before if ports else 0.0
                told(benchmark, subject, result, used, run)
        write(Row("all of it", "remote", "peak memory of the MediaAgent", peak_bytes(agent.pid) / 2**20, "MiB", run))
    with served(far, verify) as agent:
        result = side("locate", far, "--ports", *agent.ports)
        for name in ("cold", "again"):
            write(Row("locate", "remote", name, result[name], "fingerprints/s", run))


@contextmanager
def line(delay_ms: int, ports: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The ports at the near end of a line that is so long."""
    command = (sys.executable, "-m", "bench.line", str(delay_ms), *ports)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        control, data = json.loads(process.stdout.readline())
        yield str(control), str(data)
        process.terminate()


def delayed(disks: list[Path], work: Path, verify: str, delay_ms: int, run: int) -> None:
    """The known data once more, as it is and over a long line."""
    far = work / "remote"
    with served(far, verify) as agent, line(delay_ms, agent.ports) as long:
        for subject, ports in (("loopback", agent.ports), (f"{delay_ms} ms there and back", long)):
            warm(*disks)
            before = cpu_seconds(agent.pid)
            result = side("backup", far, *disks, "--ports", *ports)
            told("known data over a line", subject, result, cpu_seconds(agent.pid) - before, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disks", type=Path, nargs="+", required=True, help="images of one machine")
    parser.add_argument("--work", type=Path, default=Path("bench/work/services"))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--verify", choices=("all", "sample", "none"), default="all")
    parser.add_argument("--delay-ms", type=int, default=0)
    asked = parser.parse_args()
    for run in range(asked.runs):
        one_run(asked.disks, asked.work, asked.verify, run)
        if asked.delay_ms:
            delayed(asked.disks, asked.work, asked.verify, asked.delay_ms, run)


if __name__ == "__main__":
    main()
