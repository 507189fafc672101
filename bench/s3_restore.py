"""A restore from S3 against the AWS client's download of the same bytes, from a real server on the loopback.

python -m bench.s3_restore IMAGE [--runs N] [--work DIR] > results.jsonl

The server is Ceph's gateway over an OSD in memory (Debian: ceph-mon ceph-osd radosgw), reached by http. In each run, in
turn: `ingot restore` to a new file; the download of the bytes that it writes, the image without its holes stored as one
object; and the download of the bytes that it reads, the repository's containers. Downloads are boto3's transfers with
their default settings, the engine of `aws s3 cp`, in a process of its own like ours. The restore is compared with the
image.
"""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from bench.engine import rows, warm
from bench.measure import Usage, measure
from bench.ours import PROGRAM
from bench.rows import Row, write
from bench.run import say
from tests.s3.buckets import Service
from tests.s3.radosgw import ACCESS_KEY, SECRET_KEY, RadosGateway, is_installed
from vsa.disks.image import ImageDisk

BUCKET, PREFIX, DATA_OBJECT = "bench", "vms", "data"
DEVICE_BYTES = 8 << 30
STEP_BYTES = 16 << 20
# What `aws s3 cp --recursive` does, without its start-up: every object below a prefix, into files.
DOWNLOAD = """
import sys, boto3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
endpoint, bucket, prefix, to = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1",
                      config=Config(max_pool_connections=10, s3={"addressing_style": "path"}))
pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
with create_transfer_manager(client, TransferConfig()) as transfers:
    waiting = []
    for found in (entry for page in pages for entry in page.get("Contents", ())):
        path = Path(to) / found["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting.append(transfers.download(bucket, found["Key"], str(path)))
    for each in waiting:
        each.result()
"""


class Bench:
    """The server with a backup of the image in it, and what is timed."""

    def __init__(self, gateway: RadosGateway, image: Path, work: Path) -> None:
        self._endpoint = gateway.http
        self._image = image
        self._work = work
        self._environment = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        self._client = Service(gateway.http, ACCESS_KEY, SECRET_KEY).client()
        url = f"s3://{BUCKET}/{PREFIX}?endpoint={self._endpoint}"
        self._place = ("--repository", url, "--key-file", work / "key")
        self._client.create_bucket(Bucket=BUCKET)

    def fill(self) -> None:
        """Back the image up, and store what of it is no hole."""
        self._ingot("init")
        self._ingot("backup", self._image, "--machine", "machine", "--index", self._work / "index")
        data = self._work / "data"
        with ImageDisk(self._image) as disk, data.open("wb") as file:
            for offset, length in disk.data_extents(0, disk.size):
                for at in range(offset, offset + length, STEP_BYTES):
                    piece = bytearray(min(STEP_BYTES, offset + length - at))
                    disk.read_into(at, memoryview(piece))
                    file.write(piece)
        self._client.upload_file(str(data), BUCKET, DATA_OBJECT)
        data.unlink()

    def size(self, prefix: str) -> int:
        """Bytes of all objects below `prefix`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(entry["Size"] for page in pages for entry in page["Contents"])

    def restore(self, to: Path) -> Usage:
        """Our restore, to a file that is compared."""
        usage = self._ingot("restore", "latest:machine", "--to", to / "disk.raw")
        if not filecmp.cmp(to / "disk.raw", self._image, shallow=False):
            raise SystemExit(f"the restore differs from {self._image}")
        return usage

    def download(self, prefix: str, to: Path) -> Usage:
        """The AWS client's download of everything below `prefix`."""
        command = (sys.executable, "-c", DOWNLOAD, self._endpoint, BUCKET, prefix, to)
        return measure(command, env=self._environment)

    def _ingot(self, verb: str, *arguments: str | Path) -> Usage:
        return measure((PROGRAM, verb, *arguments, *self._place), env=self._environment)


def run_once(bench: Bench, work: Path, run: int) -> None:
    """Everything once, in turn; rows go to stdout."""
    data, containers = bench.size(DATA_OBJECT), bench.size(f"{PREFIX}/c/")
    subjects = {
        "ingot restore": (bench.restore, data),
        "AWS client, the data": (lambda to: bench.download(DATA_OBJECT, to), data),
        "AWS client, the containers": (lambda to: bench.download(f"{PREFIX}/c/", to), containers),
    }
    for subject, (work_on, size) in subjects.items():
        warm()
        with tempfile.TemporaryDirectory(dir=work) as to:
            usage = work_on(Path(to))
        for row in rows("restore from S3", subject, usage, run):
            write(row)
        write(Row("restore from S3", subject, "written", size / 2**20, "MiB", run))
        write(Row("restore from S3", subject, "rate", size / usage.wall_seconds / 1e6, "MB/s", run))


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.s3_restore", description="Restores from S3.")
    parser.add_argument("image", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("bench/results/work"), metavar="DIR")
    asked = parser.parse_args()
    if not is_installed():
        say("ceph-mon, ceph-osd or radosgw: not installed, left out")
        return 0
    asked.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.work) as folder:
        work = Path(folder)
        gateway = RadosGateway(work, device_bytes=DEVICE_BYTES)
        try:
            bench = Bench(gateway, asked.image.absolute(), work)
            bench.fill()
            for run in range(asked.runs):
                run_once(bench, work, run)
        finally:
            gateway.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
