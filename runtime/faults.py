"""The root of every failure that has a name.

A fault says what went wrong, which one, what was expected and what was found; its class says what the caller should do
about it (`retry`) and carries a code that is unique, documented in docs/faults.md and stable for programs that read
`--json`.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Retry(enum.Enum):
    """What the code that fails knows about trying again."""

    NEVER = "never"
    SOON = "soon"  # whoever should have answered went away, and comes back within seconds
    LATER = "later"
    ELSEWHERE = "elsewhere"


class Fault(Exception):
    """Something failed, and we know what to call it."""

    code: ClassVar[str]
    retry: ClassVar[Retry] = Retry.NEVER
    registry: ClassVar[dict[str, type[Fault]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        code = cls.__dict__.get("code")
        if code is None:
            return  # a branch of the tree, never raised itself
        other = Fault.registry.setdefault(code, cls)
        if other.__qualname__ != cls.__qualname__ or other.__module__ != cls.__module__:
            raise TypeError(f"fault code {code!r} belongs to {other.__module__}.{other.__qualname__}")


class UsageFault(Fault):
    """What was asked for makes no sense as asked: exit code 2, and nothing was done."""
