"""A machine of a simulated vCenter: bytes read by an incremental, and what a transport adds to the engine's time.

    python -m bench.vsphere [--gigabytes 100] [--changed 0.01] [--disk IMAGE] [--server nbdkit|qemu-nbd]

The machine's disk is sparse; changes are 256 KiB each, scattered, random. The transport's part is measured with one raw
file in the page cache, read by the engine directly and through an NBD server on a Unix socket, turn about, each into a
pool of its own on disk. Wall seconds have the server on the same cores; CPU seconds are the engine's with its client.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.engine import warm
from bench.services import cpu_seconds, side
from media.pool import Parameters
from tests.system.vsphere.office import office

EXTENT = 256 << 10
GIB = 1 << 30


def incremental(directory: Path, gigabytes: int, changed: float) -> dict[str, Any]:
    """A first backup, changes, an incremental a day later."""
    rng = random.Random(1)
    with office(directory, Parameters()) as there:
        web = there.vcenter.add_machine("web", [gigabytes * GIB], change_tracking=True)
        count = int(gigabytes * GIB * changed / EXTENT)
        places = rng.sample(range(gigabytes * GIB // EXTENT), count)
        for place in places:
            web.guest_write(0, place * EXTENT, rng.randbytes(EXTENT))
        there.back_up(web, remember=False)
        for place in places:
            web.guest_write(0, place * EXTENT, rng.randbytes(EXTENT))
        there.clock.days += 1
        began = time.monotonic()
        result = there.back_up(web, remember=False).result
        seconds = time.monotonic() - began
    [disk] = result["disks"]
    proof = disk["proof"]
    return {
        "changed_bytes": disk["changed_bytes"],
        "changed_areas": disk["changed_areas"],
        "read_bytes": result["read_bytes"],
        "read_for_proof": proof["read_bytes"],
        "read_for_changes_by_changed": (result["read_bytes"] - proof["read_bytes"]) / disk["changed_bytes"],
        "cells_proven": proof["cells"],
        "of_cells": proof["of_cells"],
        "probability": proof["probability"],
        "seconds": round(seconds, 1),
        "snapshot_seconds": round(result["snapshot"]["seconds"], 1),
    }


@contextmanager
def exported(image: Path, socket: Path, server: str) -> Iterator[int]:
    """The image behind an NBD server of so many; its pid."""
    command = {
        "nbdkit": ["nbdkit", "--foreground", "--readonly", f"--unix={socket}", "file", str(image)],
        "qemu-nbd": [
            "qemu-nbd",
            "--read-only",
            "--persistent",
            "--shared=8",
            f"--socket={socket}",
            "--format=raw",
            str(image),
        ],
    }[server]
    with subprocess.Popen(command) as process:
        try:
            pause = threading.Event()
            while not socket.exists():
                pause.wait(0.05)
            yield process.pid
        finally:
            process.terminate()


def transport(directory: Path, disk: Path | None, megabytes: int, runs: int, server: str) -> dict[str, Any]:
    """First backups of one disk into pools on disk, read directly and through an NBD server, turn about; medians."""
    image, socket = disk or directory / "disk.raw", directory / "nbd"
    if disk is None:
        rng = random.Random(2)
        with image.open("wb") as file:
            for _ in range(megabytes):
                file.write(rng.randbytes(1 << 19) + rng.randbytes(1 << 10) * (1 << 9))
    rows: list[dict[str, float]] = []
    with exported(image, socket, server) as pid:
        for number in range(runs):
            row = {}
            for name, source in (("direct", str(image)), ("nbd", f"nbd+unix:///?socket={socket}")):
                place = directory / f"{name}-{number}"
                side("create", place)
                warm(image)
                before = cpu_seconds(pid)
                found = side("backup", place, source)
                row |= {f"{name}_seconds": found["wall"], f"{name}_cpu": found["cpu"]}
                row["server_cpu"] = cpu_seconds(pid) - before
                shutil.rmtree(place)
            rows.append(row)
    middle = {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
    walls = [round(row["nbd_seconds"] / row["direct_seconds"], 3) for row in rows]
    engines = [round(row["nbd_cpu"] / row["direct_cpu"], 3) for row in rows]
    return {
        "server": server,
        "megabytes": image.stat().st_size >> 20,
        **middle,
        "wall_ratio": statistics.median(walls),
        "wall_ratios": walls,
        "cpu_ratio_without_server": statistics.median(engines),
        "cpu_ratios_without_server": engines,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=int, default=100)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--megabytes", type=int, default=1024, help="of the file that the transport is measured with")
    parser.add_argument("--disk", type=Path, help="an image to measure the transport with; one is made, without")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--server", choices=("nbdkit", "qemu-nbd"), default="nbdkit")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(transport(Path(directory), asked.disk, asked.megabytes, asked.runs, asked.server)))
        print(json.dumps(incremental(Path(directory) / "office", asked.gigabytes, asked.changed)))


if __name__ == "__main__":
    main()
