"""The dedup database alone: real keys in a real index, through `mediaagent.ddb`.

python -m bench.index [--keys N] [--ascending] [--work DIR] > rows.jsonl

Fingerprints are random, as those of chunks are, and recorded a container at a time. With `--ascending` the index is
filled in the order of its keys, so that a large one is there soon; what is measured afterwards is random. Written bytes
are what this process hands to the kernel (`wchar` in /proc/self/io). Its count of what goes to the disk
(`write_bytes`) says up to eight times as much: it takes a whole large folio for each page of 4 KiB that is written.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from bench.engine import warm
from bench.rows import Row, write
from bench.run import say
from mediaagent.ddb.chunk_index import ChunkIndex, open_index

REPOSITORY = bytes(range(16))
CHUNKS = 1024  # a container's
SEGMENT_CHUNKS = 512
LOOKUP_COUNT = 1 << 19
LAST_COUNT = 1 << 20
SINGLE_COUNT = 20_000


class Keys:
    """The fingerprints of container n, the same each time they are asked for."""

    def __init__(self, ascending_containers: int) -> None:
        self._ascending = ascending_containers

    def of(self, container: int) -> np.ndarray:
        found = np.random.default_rng(container).integers(0, 256, (CHUNKS, 32), np.uint8)
        if container < self._ascending:
            step = (1 << 64) // (self._ascending * CHUNKS)
            heads = (np.arange(CHUNKS, dtype=np.uint64) + np.uint64(container * CHUNKS)) * np.uint64(step)
            found[:, :8] = heads.astype(">u8").view(np.uint8).reshape(-1, 8)
        return found


def written_bytes() -> int:
    """What this process wrote so far."""
    counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counted["wchar"])


def insert(index: ChunkIndex, keys: Keys, first: int, last: int) -> tuple[float, float]:
    """Record containers; keys a second, and bytes written a key. Making the keys is not timed."""
    seconds, before = 0.0, written_bytes()
    for container in range(first, last):
        fingerprints = keys.of(container)
        started = time.perf_counter()
        index.record(container + 1, fingerprints)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    index.flush()
    seconds += time.perf_counter() - started
    count = (last - first) * CHUNKS
    return count / seconds, (written_bytes() - before) / count


def lookups(index: ChunkIndex, asked: np.ndarray, batch: int, hits: bool) -> float:
    """Keys a second, asked a batch at a time; every answer is checked."""
    seconds, found = 0.0, 0
    for first in range(0, len(asked), batch):
        part = asked[first : first + batch]
        started = time.perf_counter()
        places = index.locate(part)
        seconds += time.perf_counter() - started
        found += int((places.cids != 0).sum())
    if found != (len(asked) if hits else 0):
        raise SystemExit(f"{found} of {len(asked)} keys were found")
    return len(asked) / seconds


def sample(keys: Keys, containers: int, first: int, count: int) -> np.ndarray:
    """Fingerprints drawn from random containers of [first, first + containers)."""
    rng = np.random.default_rng(7)
    chosen = rng.integers(first, first + containers, 2048).tolist()
    listed = np.concatenate([keys.of(container)[:: CHUNKS * 2048 // count] for container in chosen])
    return np.ascontiguousarray(rng.permutation(listed)[:count])


def measure_all(count: int, ascending: bool, work: Path) -> None:
    """All of it; rows go to stdout."""
    place = work / "index"
    shutil.rmtree(place, ignore_errors=True)
    containers, last = count // CHUNKS, LAST_COUNT // CHUNKS
    keys = Keys(containers - last if ascending else 0)
    benchmark = f"index of {count / 1e6:.0f} million keys" + (", filled in order" if ascending else "")

    def row(subject: str, metric: str, value: float, unit: str) -> None:
        write(Row(benchmark, subject, metric, value, unit, 0))

    warm()
    with open_index(place, REPOSITORY) as index:
        for subject, first, end in (
            ("insert all", 0, containers - last),
            ("insert the last 2^20", containers - last, containers),
        ):
            say(f"{benchmark}: {subject}")
            rate, written = insert(index, keys, first, end)
            row(subject, "speed", rate / 1e3, "1000 keys/s")
            row(subject, "written", written, "bytes/key")
        row("size", "size", (place / "data.mdb").stat().st_size / count, "bytes/key")
        known = sample(keys, containers, 0, LOOKUP_COUNT)
        strange = sample(keys, containers, containers, LOOKUP_COUNT)
        for name, asked, hits in (("found", known, True), ("not found", strange, False)):
            say(f"{benchmark}: lookups, {name}")
            rate = lookups(index, asked, SEGMENT_CHUNKS, hits)
            row(f"look up, {name}, {SEGMENT_CHUNKS} at once", "speed", rate / 1e3, "1000 keys/s")
            rate = lookups(index, asked[:SINGLE_COUNT], 1, hits)
            row(f"look up, {name}, one by one", "speed", rate / 1e3, "1000 keys/s")
        if index.fault is not None:
            raise index.fault
    shutil.rmtree(place)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.index", description="The dedup database alone.")
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--ascending", action="store_true", help="fill it in the order of its keys")
    parser.add_argument("--work", type=Path, default=Path("bench/results/work"), metavar="DIR")
    asked = parser.parse_args()
    if asked.keys < 2 * LAST_COUNT:
        parser.error(f"--keys: expected at least {2 * LAST_COUNT}")
    measure_all(asked.keys, asked.ascending, asked.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
