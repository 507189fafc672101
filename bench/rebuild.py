"""A lost index, made again from a large repository: seconds a stored TB.

python -m bench.rebuild [--gigabytes N] [--work DIR] > rows.jsonl

The repository is real but for the bodies of its records: full containers of 32 MiB, written by the product's
own writer and kept as sparse files that hold header, footer and trailer. That is all that a rebuild reads, and so a
repository of many times the disk's size fits. 1400 records a container is what a system disk gives at 64 KiB a chunk.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np

from bench.engine import rows, warm
from bench.ours import Ingot
from bench.peers import PASSWORD
from bench.rows import Row, write
from bench.run import say
from ingot.embedded import open_repo
from media.container import ContainerWriter, Kind
from media.ids import container_name
from media.key_slots import Passphrase
from media.record import Codec, Type
from media.session import Process, Session
from runtime.clock import SystemClock

RECORDS, CONTENT_BYTES, PLAIN_BYTES = 1400, 23_700, 64 << 10
HEAD_BYTES = 4 << 10


def fill(repo: Path, containers: int) -> int:
    """Put so many containers into an empty repository; their bytes, holes included."""
    pool = open_repo(str(repo), Passphrase(PASSWORD)).pool
    session = Session.begin(pool, SystemClock(), Process.this())
    buffer = memoryview(bytearray(pool.parameters.container_bytes))
    content = bytes(CONTENT_BYTES)
    rng = np.random.default_rng(1)
    total = 0
    for _ in range(containers):
        writer = ContainerWriter(buffer, session.next_cid(Kind.DATA), Kind.DATA, pool.id, session.key_for(RECORDS))
        for fingerprint in rng.integers(0, 256, (RECORDS, 32), np.uint8):
            if not writer.has_room(CONTENT_BYTES):
                break
            writer.append(Type.CHUNK, Codec.RAW, content, PLAIN_BYTES, fingerprint.tobytes())
        whole, footer = writer.finish()
        path = repo / container_name(writer.cid)
        path.parent.mkdir(parents=True, exist_ok=True)
        tail = len(whole) - footer.nbytes - HEAD_BYTES
        with path.open("wb") as file:
            file.write(whole[:HEAD_BYTES])
            file.seek(tail)
            file.write(whole[tail:])
        total += len(whole)
    session.abort("a benchmark's")
    return total


def measure_all(gigabytes: int, work: Path) -> None:
    """Make it, lose the index, and make that again."""
    ingot, repo = Ingot(), work / "rebuild"
    for old in (repo, repo.with_name("rebuild.client")):
        shutil.rmtree(old, ignore_errors=True)
    ingot.init(repo)
    say(f"rebuild: making {gigabytes} GB")
    stored = fill(repo, round(gigabytes * 1e9) // (32 << 20))
    benchmark = f"index made again, {stored / 1e9:.0f} GB stored"
    warm()
    usage = ingot.rebuild(repo)
    for row in rows(benchmark, ingot.subject, usage, 0):
        write(row)
    write(Row(benchmark, ingot.subject, "a stored TB", usage.wall_seconds / (stored / 1e12), "s", 0))
    for old in (repo, repo.with_name("rebuild.client")):
        shutil.rmtree(old)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.rebuild", description="A lost index, made again.")
    parser.add_argument("--gigabytes", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("bench/results/work"), metavar="DIR")
    asked = parser.parse_args()
    measure_all(asked.gigabytes, asked.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
