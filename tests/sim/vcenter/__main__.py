"""A simulated vCenter for people: `python -m tests.sim.vcenter --directory D --machines 3`.

Says on standard output, as one line of JSON, where it is and how to come in; runs until a signal ends it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
from pathlib import Path

from tests.sim.vcenter.vcenter import Vcenter

GIB = 1 << 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.vcenter", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where bytes and certificate are kept")
    parser.add_argument("--machines", type=int, default=3, help="how many machines it has (3)")
    parser.add_argument("--disk-bytes", type=int, default=GIB, help="size of each one's disk (1 GiB)")
    parser.add_argument("--data-bytes", type=int, default=0, help="random bytes on each disk (0)")
    parser.add_argument("--name", default="vc1", help="tells one vCenter from another: uuids come from it (vc1)")
    parser.add_argument("--port", type=int, default=0, help="a port of the loopback (a free one)")
    parser.add_argument("--hosts", type=int, default=2, help="how many hosts it has (2)")
    parser.add_argument("--cloud", action="store_true", help="one of VMware Cloud on AWS, with a CloudAdmin user")
    options = parser.parse_args()
    vcenter = Vcenter(options.directory, name=options.name, port=options.port, hosts=options.hosts, cloud=options.cloud)
    chance = random.Random(options.name)
    for number in range(1, options.machines + 1):
        machine = vcenter.add_machine(f"vm{number:05d}", [options.disk_bytes])
        for at in range(0, min(options.data_bytes, options.disk_bytes), 1 << 20):
            machine.guest_write(0, at, chance.randbytes(min(1 << 20, options.data_bytes - at)))
    ended = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: ended.set())
    with vcenter:
        told = {
            "address": vcenter.address,
            "user": vcenter.user,
            "password": vcenter.password,
            "certificate": str(vcenter.certificate),
            "fingerprint": vcenter.fingerprint,
            "nbdkit": str(Path(__file__).with_name("nbdkit")),
        }
        print(json.dumps(told), flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
