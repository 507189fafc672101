"""What a repository in S3 costs on this side of the wire, beside plain boto3.

python -m bench.s3_requests [--runs N] > results.jsonl

Against the real server of the tests, over https on the loopback, three requests at a time. Seconds of CPU are this
process's; those of the server, on the same machine, are not in them but slow everything down.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.rows import Row, write
from bench.run import say
from tests.s3.buckets import Service
from tests.s3.radosgw import ACCESS_KEY, SECRET_KEY, RadosGateway, is_installed

CONTAINER_BYTES = 32 << 20
CONTAINERS = 16
THREADS = 3  # as many as a worker of a backup has under way


def cpu_seconds() -> float:
    """Of this process, so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(what: str, subject: str, run: int, step: Callable[[int], object]) -> None:
    """Do a step for each container, and write what it cost."""
    cpu, began = cpu_seconds(), time.perf_counter()
    with ThreadPoolExecutor(THREADS) as executor:
        list(executor.map(step, range(CONTAINERS)))
    seconds, gib = time.perf_counter() - began, CONTAINERS * CONTAINER_BYTES / 2**30
    write(Row(f"S3, {what}", subject, "cpu", (cpu_seconds() - cpu) / gib, "s/GiB", run))
    write(Row(f"S3, {what}", subject, "rate", gib * 1024 / seconds, "MiB/s", run))


def compare(service: Service, run: int) -> None:
    """Put and get the same bytes both ways."""
    bucket, body = service.new_bucket(), memoryview(bytearray(os.urandom(CONTAINER_BYTES)))
    repository, client = service.repository(bucket), service.client()
    repository.put_new("sess/0000000001", b"the first put is made twice")
    measure("put", "ingot", run, lambda n: repository.put_new(f"c/0000000001/{n:06x}", body))
    measure("put", "boto3", run, lambda n: client.put_object(Bucket=bucket, Key=f"plain/{n}", Body=body.obj))
    measure("get", "ingot", run, lambda n: repository.get(f"c/0000000001/{n:06x}"))
    measure("get", "boto3", run, lambda n: client.get_object(Bucket=bucket, Key=f"plain/{n}")["Body"].read())
    for name in [entry.name for entry in repository.list("")]:
        repository.delete(name)
    for number in range(CONTAINERS):
        client.delete_object(Bucket=bucket, Key=f"plain/{number}")


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.s3_requests", description="Repositories in S3.")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    if not is_installed():
        say("bench.s3_requests: left out, needs Debian's ceph-mon, ceph-osd and radosgw")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        gateway = RadosGateway(Path(directory))
        try:
            for run in range(asked.runs):
                compare(Service(gateway.https, ACCESS_KEY, SECRET_KEY, str(gateway.ca)), run)
        finally:
            gateway.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
