"""The LMDB environment of an index. The only file that knows LMDB's names.

Commits are durable (no NOSYNC, no WRITEMAP); pages are read one at a time (no readahead: keys are random); read
transactions last one batch, because a page freed meanwhile cannot be reused before they end.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
from numpy.typing import NDArray

from mediaagent.ddb import rows
from mediaagent.ddb.faults import DdbCorrupt, DdbFault, DdbFull, DdbUnavailable
from mediaagent.ddb.occupancy import NO_SPACE, Occupancy
from mediaagent.ddb.writer import Batch

ENGINE = "{}.{}".format(*lmdb.version())  # the data format changes with the minor number
_SMALLEST_MAP_BYTES = 1 << 30
_LOCK_BYTES = 8192  # what LMDB makes of it for its 126 readers
_FAULT_BY_ERROR: dict[type[lmdb.Error], type[DdbFault]] = {
    lmdb.MapFullError: DdbFull,
    lmdb.DiskError: DdbFull,
    lmdb.BadTxnError: DdbCorrupt,
    lmdb.BadValsizeError: DdbCorrupt,
    lmdb.CorruptedError: DdbCorrupt,
    lmdb.IncompatibleError: DdbCorrupt,
    lmdb.InvalidError: DdbCorrupt,
    lmdb.PageFullError: DdbCorrupt,
    lmdb.PageNotFoundError: DdbCorrupt,
    lmdb.PanicError: DdbCorrupt,
    lmdb.VersionMismatchError: DdbCorrupt,
}


class Found(NamedTuple):
    """What a batch of keys met, and how often containers were forgotten by then, by anybody."""

    pairs: list[tuple[bytes, bytes]]
    forgettings: int


class Environment:
    """The open files. Reads from any thread, one at a time; `commit` from one thread. Methods raise DdbFault."""

    def __init__(
        self, directory: Path, identity: bytes, occupancy: Occupancy, *, map_bytes: int, patience_seconds: float
    ) -> None:
        """Raises DdbCorrupt when the files hold another identity than ddb.json or are not LMDB's."""
        self._directory = directory
        self._occupancy = occupancy
        with self._translated():
            self._lmdb = _mapped(directory, map_bytes)
            self._lmdb.reader_check()
        self._begin_patiently(identity, patience_seconds)

    def get(self, keys: list[bytes]) -> Found:
        """The rows of those of the sorted keys that are there."""
        with self._translated(), self._lmdb.begin() as transaction:
            pairs = transaction.cursor(self._fp).getmulti(keys)
            return Found(pairs, self._value(transaction, b"forgettings"))

    def commit(self, batch: Batch) -> None:
        """All of the batch, durable on return, or none of it. The newest place of a key wins; gone stays gone."""
        with self._translated(), self._lmdb.begin(write=True) as transaction:
            transaction.cursor(self._fp).putmulti(sorted(batch.places.items()))
            for cid, slots in sorted(batch.containers.items()):
                row = rows.container_row(slots, rows.RECORDED)
                transaction.put(rows.container_key(cid), row, overwrite=False, db=self._cont)
            for cid in sorted(batch.gone):
                transaction.put(rows.container_key(cid), rows.container_row(0, rows.GONE), db=self._cont)
            if batch.gone:
                self._raise(transaction, b"forgettings", self._value(transaction, b"forgettings") + 1)
            self._raise(transaction, b"generation", batch.generation)

    def containers(self, state: int) -> NDArray[np.uint64]:
        """The containers of a state, ascending. Reads one row each: about 30 000 a stored TB."""
        with self._translated(), self._lmdb.begin() as transaction:
            pairs = list(transaction.cursor(self._cont))
        try:
            return rows.containers_in(pairs, state)
        except ValueError as error:
            raise DdbCorrupt(f"{self._directory}: {error}") from error

    def generation(self) -> int:
        """The newest condemnation that has been applied; 0 before the first."""
        with self._translated(), self._lmdb.begin() as transaction:
            return self._value(transaction, b"generation")

    def close(self, *, clean: bool, patience_seconds: float) -> None:
        """Close the files; seal them when we were the last and saw no fault. What cannot be sealed is checked next."""
        try:
            with self._occupancy.guarded(patience_seconds):
                self._lmdb.close()
                self._occupancy.leave(clean=clean)
        except (OSError, DdbUnavailable):
            self._lmdb.close()
            self._occupancy.leave(clean=False)

    def _begin_patiently(self, identity: bytes, patience_seconds: float) -> None:
        """LMDB opens databases under its write lock and has no time limit for it: a thread waits in our place."""
        faults: list[DdbFault] = []

        def begin() -> None:
            try:
                self._begin(identity)
            except DdbFault as fault:
                faults.append(fault)

        thread = threading.Thread(target=begin, name="ddb-opening", daemon=True)
        thread.start()
        thread.join(patience_seconds)
        if thread.is_alive():  # and has the files open until the lock is free: they must stay so
            raise DdbUnavailable(f"{self._directory}: another process holds the write lock for {patience_seconds:g} s")
        if faults:
            self._lmdb.close()
            raise faults[0]

    def _begin(self, identity: bytes) -> None:
        with self._translated(), self._lmdb.begin(write=True) as transaction:
            self._fp = self._lmdb.open_db(b"fp", txn=transaction)
            self._cont = self._lmdb.open_db(b"cont", txn=transaction)
            self._meta = self._lmdb.open_db(b"meta", txn=transaction)
            found = transaction.get(b"identity", db=self._meta)
            if found is None:
                transaction.put(b"identity", identity, db=self._meta)
            elif found != identity:
                raise DdbCorrupt(f"{self._directory}: data.mdb says {found!r}, ddb.json says {identity!r}")

    def _value(self, transaction: lmdb.Transaction[bytes], name: bytes) -> int:
        return int.from_bytes(transaction.get(name, db=self._meta) or b"", "little")

    def _raise(self, transaction: lmdb.Transaction[bytes], name: bytes, value: int) -> None:
        if value > self._value(transaction, name):
            transaction.put(name, value.to_bytes(8, "little"), db=self._meta)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            kind = DdbFull if error.code in NO_SPACE else _FAULT_BY_ERROR.get(type(error), DdbUnavailable)
            raise kind(f"{self._directory}: {error}") from error


def _mapped(directory: Path, map_bytes: int) -> lmdb.Environment:
    """Reserve `map_bytes` of address space, or less where that much is refused (`ulimit -v`); never resized."""
    _take_space_of_lock(directory / "lock.mdb")
    while True:
        try:
            return lmdb.open(
                str(directory),
                map_size=map_bytes,
                max_dbs=3,
                mode=0o600,
                readahead=False,
                meminit=True,  # else what malloc left, secrets too, would lie in the file
                max_spare_txns=1,
            )
        except lmdb.Error as error:
            if error.code != errno.ENOMEM or map_bytes <= _SMALLEST_MAP_BYTES:
                raise
            map_bytes = map_bytes // 4 // mmap.PAGESIZE * mmap.PAGESIZE


def _take_space_of_lock(path: Path) -> None:
    """LMDB writes to this file through a map: on a full disk that is SIGBUS. Taken beforehand, it is an OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
    finally:
        os.close(descriptor)
