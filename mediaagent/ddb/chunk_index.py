"""`KnownChunks` over an LMDB environment: what is pending first, then one sorted batch.

    record -> writer (pending) -> environment            locate: pending, then environment, less what is gone

Of two places of one fingerprint the newest wins: the chunk was stored again because the older one was forgotten,
evacuated or not confirmed (W9); to go on answering with that one would store the chunk anew with every backup.

After a fault answers are misses and what is recorded is dropped; only a full map or disk goes on answering with what it
has. The first fault is kept in `fault` for the caller to tell. Not to be used after fork: a child gets misses.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from media.known_chunks import Fingerprints, Places
from mediaagent.ddb import rows
from mediaagent.ddb.environment import Environment
from mediaagent.ddb.faults import DdbCorrupt, DdbFault, DdbFull
from mediaagent.ddb.opening import Limits, open_environment
from mediaagent.ddb.writer import Writer

T = TypeVar("T")


def open_index(directory: Path, repository_uuid: bytes, limits: Limits | None = None) -> ChunkIndex:
    """The index of a repository, made when it is not there.

    One that is corrupt, or was not closed cleanly and does not pass its check, is rebuilt empty; `notes` says so.
    Raises DdbForeign, DdbUnavailable or DdbFull: the caller warns and takes `media.known_chunks.MemoryKnownChunks`.
    """
    limits = limits or Limits()
    environment, notes = open_environment(directory, repository_uuid, limits)
    return ChunkIndex(environment, notes, limits)


class ChunkIndex:
    """Safe to use from several threads; several processes on one host may have the same index open. Nothing raises."""

    def __init__(self, environment: Environment, notes: list[str], limits: Limits) -> None:
        self.notes = notes
        self._environment = environment
        self._patience_seconds = limits.patience_seconds
        self._writer = Writer(
            environment.commit,
            batch_keys=limits.batch_keys,
            batch_seconds=limits.batch_seconds,
            pending_keys=limits.pending_keys,
            patience_seconds=limits.patience_seconds,
        )
        # Two threads in LMDB read less than one, the GIL changes hands per key: 410 000 keys a second against 600 000.
        self._reading = threading.Lock()
        self._gone = np.empty(0, np.uint64)  # ascending, only grows; replaced under _reading
        self._forgettings = 0
        self._closed = False
        self._process = os.getpid()

    @property
    def fault(self) -> DdbFault | None:
        """The first thing that went wrong since the opening."""
        return self._writer.fault

    def locate(self, fingerprints: Fingerprints) -> Places:
        """A place for each fingerprint, the newest recorded; or a miss."""
        unknown = Places.unknown(len(fingerprints))
        if not len(fingerprints) or not self._readable():
            return unknown
        keys = rows.fingerprint_keys(fingerprints)
        answers = self._writer.find(keys)  # before the environment: writer.py
        wanted = sorted(set(keys).difference(answers))
        stored: list[tuple[bytes, bytes]] = []
        answers.update(self._read(lambda: self._stored(wanted), stored))
        found = b"".join(map(answers.get, keys, repeat(rows.MISS)))
        if len(found) != len(keys) * len(rows.MISS):
            self._writer.fail(DdbCorrupt(f"{len(keys)} places in {len(found)} bytes"))
        if not self._readable():
            return unknown
        places = np.frombuffer(found, rows.PLACE)
        cids = places["cid"].astype(np.uint64)
        cids[(places["tail"] != rows.fingerprint_tails(fingerprints)) | _among(self._gone, cids)] = 0
        return Places(cids, np.where(cids == 0, 0, places["slot"]).astype(np.uint32))

    def record(self, cid: int, fingerprints: Fingerprints) -> None:
        """Container `cid` is durable, its slot i holds fingerprints[i]. Waits while too much is pending."""
        if self._usable() and not _among(self._gone, np.uint64(cid)):  # told by a late reader of footers, say
            self._writer.record(cid, rows.fingerprint_keys(fingerprints), rows.place_rows(cid, fingerprints))

    def forget(self, cids: Iterable[int], generation: int = 0) -> None:
        """Answer with these no more, for ever: a container's number is never used again (I3).

        `generation` is the newest condemnation all of whose containers have been forgotten with this call.
        """
        gone = set(cids)
        if self._usable() and (gone or generation):
            with self._reading:
                self._gone = np.union1d(self._gone, np.fromiter(gone, np.uint64, len(gone)))
            self._writer.forget(gone, generation)

    def containers(self) -> set[int]:
        """The containers recorded by anybody and not forgotten. Reads one row each: about 30 000 a stored TB."""
        pending = self._writer.containers()
        stored = self._read(lambda: self._environment.containers(rows.RECORDED), np.empty(0, np.uint64))
        self._read(self._learn_gone, None)
        known = pending.union(stored.tolist()) if self._readable() else set()
        return known.difference(self._gone.tolist())

    def generation(self) -> int:
        """The newest condemnation that has been applied: a session with a later g0 applies the rest first (W3, I8)."""
        pending = self._writer.generation()
        return max(pending, self._read(self._environment.generation, 0))

    def flush(self) -> None:
        """What was recorded and forgotten before is durable, and seen by other processes, unless `fault` is set."""
        if self._usable():
            self._writer.flush()

    def close(self) -> None:
        """As flush, and give the files back. Answers with misses from now on; a second call does nothing."""
        if not self._usable():
            return
        stopped = self._writer.stop()
        with self._reading:
            self._closed = True
            if stopped:
                self._environment.close(clean=self.fault is None, patience_seconds=self._patience_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _usable(self) -> bool:
        return not self._closed and os.getpid() == self._process

    def _readable(self) -> bool:
        return self._usable() and (self.fault is None or isinstance(self.fault, DdbFull))

    def _read(self, ask: Callable[[], T], nothing: T) -> T:
        """What the environment answers, or nothing: then the fault is kept."""
        if not self._usable():
            return nothing
        try:
            with self._reading:
                return ask() if self._readable() else nothing
        except DdbFault as fault:
            self._writer.fail(fault)
            return nothing

    def _stored(self, wanted: list[bytes]) -> list[tuple[bytes, bytes]]:
        if not wanted:
            return []
        found = self._environment.get(wanted)
        if found.forgettings != self._forgettings:  # by us or by another process
            self._learn_gone()
            self._forgettings = found.forgettings
        return found.pairs

    def _learn_gone(self) -> None:
        self._gone = np.union1d(self._gone, self._environment.containers(rows.GONE))


def _among(gone: NDArray[np.uint64], cids: NDArray[np.uint64] | np.uint64) -> NDArray[np.bool_]:
    """Which of `cids` are in the ascending `gone`."""
    matches: NDArray[np.bool_] = np.append(gone, np.uint64(0))[np.searchsorted(gone, cids)] == cids
    return matches
