"""The `SessionLog` port: what a writer needs of whoever keeps its session.

A writer may stand elsewhere and be trusted with little. It cuts, fingerprints, compresses and seals, with the pool's
chunking and fingerprint keys and the data keys of its own session. Whoever keeps the session has the page, signing and
wrapping keys: it opens the parent's pages, confirms places (W9), keeps containers and pages, and commits.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from media.container import Footer
from media.keys import SealingKey
from media.known_chunks import Fingerprints, Places
from media.page import Leaf
from media.pool import Parameters, Pool
from media.recovery_point import JSON, RecoveryPoint


@dataclass(frozen=True)
class Terms:
    """How a pool wants its data cut, fingerprinted and packed: all that a writer knows of it."""

    repository: uuid.UUID
    parameters: Parameters
    chunking_key: bytes = field(repr=False)
    fingerprint_key: bytes = field(repr=False)

    @staticmethod
    def of(pool: Pool) -> Terms:
        return Terms(pool.id, pool.parameters, pool.keys.chunking, pool.keys.fingerprint)


class DiskName(NamedTuple):
    """A disk that a session is begun for; its number is where it stands in the list."""

    key: str
    size: int


class ParentDisk(NamedTuple):
    """What a writer may know of a disk of the parent. Where it is not resumable all is read, whatever changed."""

    size: int
    resumable: bool
    change_id: str | None
    proof: JSON | None = None


class WrittenDisk(NamedTuple):
    """What a writer says of a disk when all of it is written: how much more of it is data than in the parent."""

    grown_bytes: int
    change_id: str | None
    proof: JSON | None = None


class SessionLog(Protocol):
    """A session that has begun and not ended. Safe to use from several threads, but for `commit` and `abort`."""

    @property
    def sid(self) -> int:
        """The session's number."""

    @property
    def terms(self) -> Terms:
        """The pool's."""

    @property
    def parent(self) -> Mapping[str, ParentDisk]:
        """The parent's disks by key; empty without a parent."""

    def next_cid(self) -> int:
        """The number of the next container of chunks. Raises SessionFull."""

    def key_for(self, records: int) -> SealingKey:
        """The key for a container of at most so many records."""

    def put_container(self, cid: int, container: memoryview, footer: Footer) -> None:
        """Keep a container of chunks. On return it is durable, and `locate` may answer with what it holds (I1).

        May be repeated with the same bytes. Raises RepositoryFault.
        """

    def locate(self, fingerprints: Fingerprints) -> Places:
        """Places that hold (W9), or misses."""

    def parent_segments(self, disk: int) -> Iterator[int]:
        """The segments of the parent's disk that hold chunks, ascending. Raises ParentDamaged while it is drawn."""

    def expect(self, disk: int, segments: list[int]) -> None:
        """The parent's leaves of these segments are asked for next, ascending. A hint; else all are expected."""

    def parent_leaf(self, disk: int, segment: int) -> Leaf | None:
        """What the parent says of a segment; None for holes.

        A chunk whose container is gone has no place: it is stored again. Raises ParentDamaged.
        """

    def put_leaf(self, disk: int, segment: int, leaf: Leaf | None) -> None:
        """What a segment holds now, where that is not what the parent says; None for holes. Once a segment.

        The places are the parent's, ones that `locate` answered, or of this session's containers, which need not be
        durable before `commit`.
        """

    def distrust(self, disk: int, places: list[int]) -> list[str]:
        """Cells of a disk that are called unchanged are not what the parent says; `places` are theirs in its walk.

        Marks the points that may be wrong as suspect; their ids. Raises RepositoryFault, ParentDamaged.
        """

    def beat(self) -> None:
        """The writer lives. To be called often; costs nothing most of the time."""

    def commit(self, disks: list[WrittenDisk], description: JSON, statistics: JSON) -> RecoveryPoint:
        """Make the recovery point (W7). The caller saw to it that its containers are durable (W6).

        Raises ParentDamaged, RepositoryFault, SessionEnded, SessionUnknown.
        """

    def abort(self, reason: str) -> None:
        """Never commit. Best effort; does nothing after a commit."""
