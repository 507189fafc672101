"""Running a program to measure it: wall seconds, processor seconds, and the most memory it held.

A process inherits the memory peak of whoever forked it, so a benchmark that once held a gigabyte would report
a gigabyte for `true`. The program is therefore started by a small process, this same file run as a script,
which waits with `os.wait4` and writes five numbers; its own 14 MiB are the least that can be reported.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LINES_OF_ERROR_COUNT = 12


class ProgramError(RuntimeError):
    """A measured program did not succeed; the message names it and shows the end of what it printed."""


@dataclass(frozen=True)
class Usage:
    """What one run took. `user` and `sys` are processor seconds of the program and all its children.

    `read_bytes` is what it asked the kernel for, from the page cache or not, without its children.
    """

    wall_seconds: float
    user_seconds: float
    sys_seconds: float
    max_rss_bytes: int
    read_bytes: int


def measure(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: Path | None = None,
) -> Usage:
    """Run a command to its end and return what it took; raise `ProgramError` if it cannot start or fails.

    `env` is added to this process's environment, for the child alone. What it prints goes to `stdout` if given.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        numbers, printed = Path(folder, "numbers"), Path(folder, "printed")
        with printed.open("wb") as errors, (stdout or printed).open("ab") as output:
            starter = [sys.executable, "-I", "-S", __file__, str(numbers), *words]
            merged = {**os.environ, **(env or {})}
            subprocess.run(starter, cwd=cwd, env=merged, stdout=output, stderr=errors, check=False)
        if not numbers.exists():
            raise ProgramError(f"{words[0]}: could not be started")
        result = json.loads(numbers.read_text())
        if result["code"] != 0:
            end = "\n".join(printed.read_text(errors="replace").splitlines()[-LINES_OF_ERROR_COUNT:])
            raise ProgramError(f"{' '.join(words)[:300]}: ended with {result['code']}:\n{end}")
    return Usage(result["wall"], result["user"], result["sys"], result["max_rss"], result["read"])


def _start_and_wait(numbers: str, command: list[str]) -> None:
    """The script's half: start, wait, write the numbers."""
    started_at = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    wall = time.perf_counter() - started_at
    counted = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    _, status, usage = os.wait4(pid, 0)
    result = {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "user": usage.ru_utime,
        "sys": usage.ru_stime,
        "max_rss": usage.ru_maxrss * 1024,
        "read": int(counted["rchar"]),
    }
    Path(numbers).write_text(json.dumps(result))


if __name__ == "__main__":
    _start_and_wait(sys.argv[1], sys.argv[2:])
