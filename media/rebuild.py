"""Bringing an index up to date from media: the footers of the containers that it does not know.

One way for three needs: a run that goes on from what an interrupted one stored, a process that learns what others
wrote, and a lost index. It only reads footers, newest first, because what a
machine stored last is what its next backup asks for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from media.container_reader import ContainerReader
from media.faults import DamageFault
from media.ids import CONTAINERS, cid_of_name
from media.known_chunks import KnownChunks
from media.pool import Pool
from media.record import Type
from runtime.tasks import in_parallel

_IN_FLIGHT = 8  # reads of footers wait for the repository, not for a core


@dataclass
class CaughtUp:
    """What was learned. `damaged` containers are left out: nothing new will refer to them."""

    containers: int = 0
    chunks: int = 0
    damaged: dict[int, DamageFault] = field(default_factory=dict)


def catch_up(
    pool: Pool,
    containers: ContainerReader,
    known: KnownChunks,
    begin: Callable[[int], None],
    advance: Callable[[int], None],
) -> CaughtUp:
    """Record every container that lies in the repository and that `known` has not met.

    `begin` hears how many those are.
    """
    there = {cid for entry in pool.repository.list(CONTAINERS) if (cid := cid_of_name(entry.name)) is not None}
    missing = sorted(there - known.containers(), reverse=True)
    begin(len(missing))
    done = CaughtUp()
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
