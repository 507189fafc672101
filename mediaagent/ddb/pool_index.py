"""The index of an open pool on this machine: opened, of the same history, brought up to date with what lies there.

An index that cannot be used costs space, never a backup: misses are answered then, and a note says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from media.container_reader import ContainerReader
from media.faults import RepositoryFault
from media.known_chunks import KnownChunks, MemoryKnownChunks
from media.pool import Pool
from media.rebuild import CaughtUp, catch_up
from mediaagent.ddb.caches import Caches
from mediaagent.ddb.chunk_index import ChunkIndex, open_index
from mediaagent.ddb.directory import default_directory
from mediaagent.ddb.faults import DdbFault
from mediaagent.ddb.history import History, Remembering, is_same
from mediaagent.ddb.opening import Limits, discard

MISSES_MAX_CHUNKS = 200_000  # 60 MB: what a backup without an index remembers of what it stored itself


class Told(NamedTuple):
    """Who hears how far reading footers is: so many in all, and so many done."""

    begin: Callable[[int], None]
    advance: Callable[[int], None]


class PoolIndex(NamedTuple):
    """What is kept beside an open pool. `there`: the containers that were in it then, if somebody looked."""

    known: KnownChunks
    containers: ContainerReader
    there: frozenset[int] | None


@contextmanager
def pool_index(pool: Pool, directory: Path | None, told: Told, notes: list[str]) -> Iterator[PoolIndex]:
    """The index of `pool`, by default in the user's state directory; what is recorded is durable when it ends.

    `notes` gets what a person should know.
    """
    try:
        place = directory or default_directory(pool.id.bytes)
        index = _open_same(pool, place, notes)
    except DdbFault as fault:
        notes.append(f"the index cannot be used, so data that other machines stored is stored again: {fault}")
        yield PoolIndex(MemoryKnownChunks(MISSES_MAX_CHUNKS), ContainerReader(pool), None)
        return
    notes += index.notes
    with index:
        history = History(place, pool.repository)
        known = Remembering(index, history)
        containers, learned = _caught_up(pool, known, Caches(place, pool.id.bytes, history), told, notes)
        yield PoolIndex(known, containers, learned.there)
    if history.failure is not None:
        notes.append(f"the index did not learn everything, so some data may be stored twice: {history.failure}")
    if index.fault is not None:
        notes.append(f"the index failed on the way, so some data may be stored twice: {index.fault}")


def _open_same(pool: Pool, place: Path, notes: list[str]) -> ChunkIndex:
    """The index at `place`, begun anew when the repository was rolled back since it was used. Raises DdbFault."""
    index = open_index(place, pool.id.bytes)
    try:
        if is_same(place, pool.repository, index.containers()):
            return index
    except BaseException:
        index.close()
        raise
    index.close()
    notes.append("the index here is not of what lies in the repository now, as after a roll-back; it is made anew")
    discard(place, Limits())
    return open_index(place, pool.id.bytes)


def _caught_up(
    pool: Pool, known: KnownChunks, caches: Caches, told: Told, notes: list[str]
) -> tuple[ContainerReader, CaughtUp]:
    containers = ContainerReader(pool, caches.footers, pages=caches.pages)
    learned = catch_up(pool, containers, known, told.begin, told.advance)
    if learned.gone:
        notes.append(f"{len(learned.gone)} containers that the index knows are gone; their chunks are stored again")
        caches.forget(learned.gone)  # or they would confirm what is there no more
    notes += [f"left out of the index: {fault}" for fault in learned.damaged.values()]
    return containers, learned


def reader_beside_index(pool: Pool, newest_sid: int) -> ContainerReader:
    """A reader of containers of sessions up to `newest_sid`, with what is kept beside the index on this machine.

    Where there is no index in the user's state directory, or one of another history, nothing is kept. The index itself
    is not opened.
    """
    try:
        place = default_directory(pool.id.bytes)
        if not (place / "ddb.json").exists() or not is_same(place, pool.repository, set()):
            return ContainerReader(pool)
    except (DdbFault, RepositoryFault, OSError):  # reading does without
        return ContainerReader(pool)
    history = History(place, pool.repository)
    history.note(newest_sid)
    caches = Caches(place, pool.id.bytes, history)
    return ContainerReader(pool, caches.footers, pages=caches.pages)


class Rebuilt(NamedTuple):
    """An index made anew, and where it lies."""

    directory: Path
    learned: CaughtUp


def rebuild_pool_index(pool: Pool, directory: Path | None, told: Told, notes: list[str]) -> Rebuilt:
    """Drop the index of a pool on this machine and make it again from the containers' footers.

    Raises DdbFault, DdbForeign included: what is not this repository's index is not removed.
    """
    place = directory or default_directory(pool.id.bytes)
    open_index(place, pool.id.bytes).close()  # is it ours
    discard(place, Limits())
    with open_index(place, pool.id.bytes) as index:
        history = History(place, pool.repository)
        caches = Caches(place, pool.id.bytes, history)
        _, learned = _caught_up(pool, Remembering(index, history), caches, told, notes)
    if index.fault is not None:
        raise index.fault
    return Rebuilt(place, learned)


def forget_containers(pool: Pool, directory: Path | None, cids: set[int]) -> str | None:
    """Have the index on this machine answer with these containers no more, so that the next backup stores their
    chunks again. Why that failed, or None.
    """
    try:
        place = directory or default_directory(pool.id.bytes)
        if not cids or not (place / "ddb.json").exists():
            return None
        with open_index(place, pool.id.bytes) as index:
            index.forget(cids)
        Caches(place, pool.id.bytes, History(place, pool.repository)).forget(cids)
    except DdbFault as fault:
        return f"the index still knows damaged containers; `ingot rebuild` after removing them: {fault}"
    return None
