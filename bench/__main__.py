"""All benchmarks: `python -m bench`. Corpora are made once; rows go to bench/results, tables to stdout.

Real system images where somebody with root can install them, synthetic ones else (or with `--synthetic`).
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench import rows
from bench.run import say

HERE = Path(__file__).parent
CORPORA, RESULTS = HERE / "corpora", HERE / "results"


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="All benchmarks.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--synthetic", action="store_true", help="seeded images, nothing is installed")
    asked = parser.parse_args()
    synthetic = ["--synthetic"] if asked.synthetic or os.geteuid() or not shutil.which("debootstrap") else []
    RESULTS.mkdir(exist_ok=True)
    result = RESULTS / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.jsonl"
    first = CORPORA / ("synthetic-0.raw" if synthetic else "system-0.raw")
    run: list[str | Path] = [sys.executable, "-m"]
    subprocess.run([*run, "bench.corpora", "--to", CORPORA, *synthetic], check=True)
    with result.open("w") as lines:
        subprocess.run([*run, "bench.kernels", first], stdout=lines, check=True)
        engine = [*run, "bench.engine", "--corpora", CORPORA, "--runs", str(asked.runs), *synthetic]
        subprocess.run(engine, stdout=lines, check=True)
    say(f"rows: {result}")
    with result.open() as lines:
        sys.stdout.write(rows.table(rows.summaries(rows.read(lines))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
