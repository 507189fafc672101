"""The kernels alone, on one core, over bytes in memory, beside what they are measured against.

python -m bench.kernels IMAGE [--runs N] > results.jsonl

`hashlib.sha256` runs over the same chunks as our fingerprints; pyfastcdc, where it is installed, cuts the same buffer.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bench.rows import Row, write
from bench.run import say
from ext import cut, fingerprint

SEGMENT_BYTES = 32 << 20
BUFFER_BYTES = 512 << 20
AVERAGE_BYTES = 64 << 10

Arrays = tuple[np.ndarray, np.ndarray]


def data_of(image: Path) -> list[np.ndarray]:
    """Up to 512 MiB of the image's segments that are at least half data."""
    segments: list[np.ndarray] = []
    with image.open("rb") as file:
        while len(segments) * SEGMENT_BYTES < BUFFER_BYTES and (raw := file.read(SEGMENT_BYTES)):
            data = np.frombuffer(raw, np.uint8)
            blocks = data[: len(data) // 4096 * 4096].reshape(-1, 4096)
            if len(blocks) and blocks.any(axis=1).mean() > 0.5:
                segments.append(data)
    return segments


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def cut_all(cutter: cut.Cutter, segments: list[np.ndarray]) -> list[Arrays]:
    """Offsets and lengths of each segment's chunks."""
    lists: list[Arrays] = []
    for data in segments:
        offsets = np.empty(cutter.capacity(len(data)), np.uint32)
        lengths = np.empty_like(offsets)
        count = cutter.segment(data, offsets, lengths)
        lists.append((offsets[:count], lengths[:count]))
    return lists


def cutter_of(kernel: str) -> cut.Cutter:
    """A cutter with some key."""
    return cut.Cutter(bytes(range(208)) * 5, AVERAGE_BYTES, kernel)


def fastcdc_beside(segments: list[np.ndarray], total: int) -> dict[str, tuple[Callable[[], object], int]]:
    """pyfastcdc over the same buffers, where it is installed."""
    try:
        from pyfastcdc import FastCDC  # noqa: PLC0415 # only where somebody installed it to compare with
    except ImportError:
        say("pyfastcdc: not installed, left out")
        return {}
    cutter = FastCDC(avg_size=AVERAGE_BYTES, min_size=AVERAGE_BYTES // 4, max_size=AVERAGE_BYTES * 4)
    copies = [data.tobytes() for data in segments]  # it takes nothing but bytes
    return {"pyfastcdc": (lambda: [sum(1 for _ in cutter.cut_buf(data)) for data in copies], total)}


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description="The kernels alone.")
    parser.add_argument("image", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    segments = data_of(asked.image)
    total = sum(len(data) for data in segments)
    lists = cut_all(cutter_of(cut.kernel()), segments)
    chunks = sum(len(offsets) for offsets, _ in lists)
    covered = sum(int(lengths.sum()) for _, lengths in lists)
    say(f"{total >> 20} MiB, {covered >> 20} MiB of them in {chunks} chunks")

    def fingerprints(kernel: fingerprint.Fingerprinter) -> None:
        for data, (offsets, lengths) in zip(segments, lists, strict=True):
            kernel.batch(data, offsets, lengths, np.empty((len(offsets), 32), np.uint8))

    def sha256() -> None:
        for data, (offsets, lengths) in zip(segments, lists, strict=True):
            view = memoryview(data)
            for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
                hashlib.sha256(view[offset : offset + length]).digest()

    def both() -> None:
        cut_all(cutter_of(cut.kernel()), segments)
        fingerprints(fingerprint.Fingerprinter(bytes(32)))

    subjects: dict[str, tuple[Callable[[], object], int]] = {}
    for name in cut.kernels():
        subjects[f"cut, {name}"] = (partial(cut_all, cutter_of(name), segments), total)
    for name in fingerprint.kernels():
        kernel = fingerprint.Fingerprinter(bytes(32), name)
        subjects[f"fingerprint, {name}"] = (partial(fingerprints, kernel), covered)
    subjects["cut and fingerprint"] = (both, covered)
    subjects["hashlib.sha256"] = (sha256, covered)
    subjects |= fastcdc_beside(segments, total)
    for run in range(asked.runs):
        for subject, (work, size) in subjects.items():
            write(Row("kernels, one core", subject, "speed", size / seconds(work) / 1e9, "GB/s", run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
