"""Bringing an index up to date from media: the footers of the containers that it does not know.

One way for three needs: a run that goes on from what an interrupted one stored, a process that learns what others
wrote, and a lost index. It only reads footers, newest first, because what a machine stored last is what its next backup
asks for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from media.container_reader import ContainerReader, containers_of
from media.faults import DamageFault
from media.known_chunks import KnownChunks
from media.pool import Pool
from media.record import Type
from runtime.tasks import in_parallel

_IN_FLIGHT = 64  # reads of footers wait for the repository, not for a core


@dataclass
class CaughtUp:
    """What was learned; `damaged` containers are left out, so nothing new refers to them; `gone` ones are forgotten."""

    there: frozenset[int]  # the containers that lie in the repository
    containers: int = 0
    chunks: int = 0
    gone: set[int] = field(default_factory=set)
    damaged: dict[int, DamageFault] = field(default_factory=dict)


def catch_up(
    pool: Pool,
    containers: ContainerReader,
    known: KnownChunks,
    begin: Callable[[int], None],
    advance: Callable[[int], None],
) -> CaughtUp:
    """Record every container that lies in the repository and that `known` has not met; forget those that went away.

    `begin` hears how many those are.
    """
    before = known.containers()  # asked before what is there: what another stores meanwhile is in both or in none
    there = containers_of(pool.repository)
    gone = before - there
    if gone:
        known.forget(gone)
    missing = sorted(there - before, reverse=True)
    begin(len(missing))
    done = CaughtUp(frozenset(there), gone=gone)
    lock = threading.Lock()

    def learn(_: int, cid: int) -> None:
        try:
            footer = containers.footer(cid)
        except DamageFault as fault:
            done.damaged[cid] = fault
            return
        chunks = footer["type"] == Type.CHUNK
        # A container holds either chunks or pages, and pages are never found through an index (W8).
        known.record(cid, np.ascontiguousarray(footer["fingerprint"]) if chunks.all() else np.empty((0, 32), np.uint8))
        count = int(chunks.sum())
        with lock:
            done.containers += 1
            done.chunks += count
        advance(1)

    in_parallel(min(_IN_FLIGHT, max(1, len(missing))), missing, learn)
    return done
