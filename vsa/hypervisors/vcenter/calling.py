"""What the parts of a connection need of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from runtime.clock import Waiting

R = TypeVar("R")


class Calling(Protocol):
    """A connection, as those see it who only call."""

    address: str
    clock: Waiting
    content: Any

    @property
    def user(self) -> str:
        """As whom we are logged in."""

    def read(self, ask: Callable[..., R], *arguments: Any, **named: Any) -> R:
        """Call what changes nothing."""

    def call(self, change: Callable[..., R], *arguments: Any, **named: Any) -> R:
        """Call what changes something, once."""

    def properties(self, managed: Any, *paths: str) -> dict[str, Any]:
        """Of one object, in one call."""
