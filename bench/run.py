"""Running the programs a corpus is made with: quietly, and with an error that names what failed.

Not for measuring: `bench.measure` does that.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LINES_OF_ERROR_COUNT = 12


class CorpusError(RuntimeError):
    """A corpus could not be made; the message says which step, and shows the end of what it printed."""


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> str:
    """Run a command to its end and return what it printed; raise `CorpusError` when it did not succeed."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, env=env, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except FileNotFoundError as missing:
        raise CorpusError(f"{words[0]}: not installed, needed to make this corpus") from missing
    printed = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        end = "\n".join(printed.splitlines()[-LINES_OF_ERROR_COUNT:])
        raise CorpusError(f"{' '.join(words)[:300]}: ended with {done.returncode}:\n{end}")
    return printed


def say(line: str) -> None:
    """One line of progress, on stderr: stdout belongs to results."""
    print(line, file=sys.stderr, flush=True)
