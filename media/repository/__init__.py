"""The `Repository` port: a place that keeps objects by name, each written once.

Wrappers are the same port. One contract suite (tests/contracts) holds for every implementation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class Entry(NamedTuple):
    """One object in a listing."""

    name: str
    size: int


class Repository(Protocol):
    """Put-if-absent, get, list in order, delete. Safe to use from several threads at once.

    All of them raise RepositoryDenied, RepositoryUnreachable or RepositoryFull for what the place does; for how it was
    named or is set up RepositoryMissing, RepositoryUnfit, CertificateRefused or RegionWrong; and nothing else but what
    is named below. The three that get raise ObjectUnreadable for an object that is there and cannot be
    read while the place itself answers: its loss is the loss of one object.
    """

    @property
    def url(self) -> str:
        """How a person names this place; no secrets in it."""

    def put_new(self, name: str, body: Buffer) -> None:
        """Put-if-absent. On return the object is whole and durable; raises ObjectExists when the name is taken.

        After RepositoryUnreachable the same put may be made again: a refusal shows what lies there, and that it is
        durable. After RepositoryUnsynced it may not: whether the object is durable cannot be found out any more.
        """

    def get(self, name: str) -> bytes:
        """The whole object. Raises ObjectMissing."""

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only where the object ends. Raises ObjectMissing."""

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        """The last `length` bytes, or all there are, and the size of the object. Raises ObjectMissing."""

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Every object whose name starts with `prefix` and is greater than `after`, in order of name.

        Objects put before the call are in it (strong consistency); an error is raised, never taken for an end.
        """

    def delete(self, name: str) -> None:
        """Remove the object; nothing happens when it is not there."""
