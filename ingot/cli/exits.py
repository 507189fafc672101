"""Exit codes."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended; the same for every command."""

    GOOD = 0
    FAULT = 1
    USAGE = 2
    PARTIAL = 3
    INTERRUPTED = 130
