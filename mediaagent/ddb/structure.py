"""Is a data file whole? Asked in a process of its own, of a reader that never maps the file.

LMDB checks little of what it maps: a page that is not LMDB's ends in SIGSEGV, one that is not there in SIGBUS. `lmdb
verify` walks the bytes itself: every page reachable from the roots, once, in order, counted, and the free list.
640 000 keys a second here: 10^8 keys take as long to check as to rebuild from footers, and that sets the time limit.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def damage_in(directory: Path, limit_seconds: float) -> str | None:
    """What is wrong, in one line; None when nothing is. A check that dies or takes too long has found something."""
    command = [sys.executable, "-I", "-m", "lmdb", "verify", "-e", str(directory)]
    try:
        check = subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"not checked within {limit_seconds:g} s"
    except OSError as error:
        return f"cannot be checked: {error.strerror}"
    if check.returncode == 0:
        return None
    lines = (check.stdout + check.stderr).strip().splitlines()
    return lines[-1] if lines else f"the check ended with {check.returncode}"
