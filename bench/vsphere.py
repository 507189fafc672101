"""A machine of a simulated vCenter: bytes read by an incremental, and what a transport adds to the engine's time.

    python -m bench.vsphere [--gigabytes 100] [--changed 0.01]

The machine's disk is sparse; changes are 256 KiB each, scattered, random. The transport's part is measured with one raw
file, read by the engine directly and through `qemu-nbd` on a Unix socket, turn about.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from media.backup import Backup, Source
from media.disk import Disk
from media.pool import Parameters
from runtime.clock import SystemClock
from tests.media.workbench import MACHINE, Workbench, begin
from tests.system.vsphere.office import office
from vsa.disks.image import ImageDisk
from vsa.hypervisors.vcenter.transport import DiskPlace
from vsa.hypervisors.vcenter.transport.url import UrlTransport

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


def first_backup(disk: Disk) -> float:
    """Seconds of a first backup into memory."""
    bench = Workbench()
    source = Source("disk", disk)
    log = begin(bench.pool, bench.known, bench.containers, bench.clock, MACHINE, [source], None)
    began = time.monotonic()
    Backup(log, [source], SystemClock(), 1, 2, lambda _: None).run({})
    return time.monotonic() - began


def transport(directory: Path, megabytes: int, runs: int) -> dict[str, Any]:
    """A first backup of one file, read by the engine and through an NBD server, turn about; medians."""
    image, socket = directory / "disk.raw", directory / "nbd"
    rng = random.Random(2)
    with image.open("wb") as file:
        for _ in range(megabytes):
            file.write(rng.randbytes(1 << 19) + rng.randbytes(1 << 10) * (1 << 9))
    server = subprocess.Popen(
        ["qemu-nbd", "--read-only", "--persistent", "--shared=8", f"--socket={socket}", "--format=raw", str(image)]
    )
    try:
        pause = threading.Event()
        while not socket.exists():
            pause.wait(0.05)
        place = DiskPlace("vm-1", "snapshot-1", 2000, "", image.stat().st_size)
        nbd = UrlTransport(f"nbd+unix:///?socket={socket}", SystemClock())
        direct, through = [], []
        for _ in range(runs):
            with ImageDisk(image) as disk:
                direct.append(first_backup(disk))
            opened = nbd.open(place)
            through.append(first_backup(opened))
            opened.close()
    finally:
        server.terminate()
        server.wait()
    return {
        "megabytes": megabytes,
        "direct_seconds": round(statistics.median(direct), 2),
        "through_nbd_seconds": round(statistics.median(through), 2),
        "ratio": round(statistics.median(through) / statistics.median(direct), 3),
        "ratios": [round(two / one, 3) for one, two in zip(direct, through, strict=True)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=int, default=100)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--megabytes", type=int, default=1024, help="of the file that the transport is measured with")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(transport(Path(directory), asked.megabytes, asked.runs)))
        print(json.dumps(incremental(Path(directory) / "office", asked.gigabytes, asked.changed)))


if __name__ == "__main__":
    main()
