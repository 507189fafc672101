"""What is recorded and not yet committed, and the one thread that commits it.

    record, forget -> the last batch   --full, batch_seconds old, or flush-->   the first batch -> one durable commit
                      `find` sees all of them until their commit is over

So whoever asks `find` first and the environment second misses nothing. Memory is bounded: `record` waits while
`pending_keys` are pending. It waits `patience_seconds` at most for a commit, and so do `flush` and `stop`: another
process that holds LMDB's write lock (and was stopped, say) costs the index, not the backup.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from mediaagent.ddb.faults import DdbFault, DdbUnavailable


class Batch:
    """Rows by key, slots by container, containers gone: one transaction."""

    def __init__(self) -> None:
        self.places: dict[bytes, bytes] = {}
        self.containers: dict[int, int] = {}
        self.gone: set[int] = set()
        self.generation = 0
        self.due = False
        self.over = False


class Writer:
    """Feeds `commit` from one thread. Safe to use from several; nothing raises: the first fault is kept."""

    def __init__(
        self,
        commit: Callable[[Batch], None],
        *,
        batch_keys: int,
        batch_seconds: float,
        pending_keys: int,
        patience_seconds: float,
    ) -> None:
        self.fault: DdbFault | None = None
        self._commit = commit
        self._batch_keys = batch_keys
        self._batch_seconds = batch_seconds
        self._pending_keys = pending_keys
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._batches: deque[Batch] = deque()  # oldest first; the first one may be in the making
        self._stopping = False
        self._hanging = False
        self._thread = threading.Thread(target=self._run, name="ddb-writer", daemon=True)
        self._thread.start()

    def record(self, cid: int, keys: list[bytes], places: list[bytes]) -> None:
        """Found from now on, durable with one of the next commits. Dropped after a fault."""
        with self._changed:
            self._wait(lambda: sum(len(batch.places) for batch in self._batches) < self._pending_keys)
            if batch := self._filling():
                batch.places.update(zip(keys, places, strict=True))
                batch.containers[cid] = len(keys)
                batch.due = batch.due or len(batch.places) >= self._batch_keys
                self._changed.notify_all()

    def forget(self, cids: Iterable[int], generation: int) -> None:
        """Gone with one of the next commits."""
        with self._changed:
            if batch := self._filling():
                batch.gone.update(cids)
                batch.generation = max(batch.generation, generation)
                self._changed.notify_all()

    def find(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """The rows of those keys that are not committed yet, the newest of each."""
        with self._changed:
            found: dict[bytes, bytes] = {}
            for batch in self._batches:
                found.update((key, batch.places[key]) for key in keys if key in batch.places)
            return found

    def containers(self) -> set[int]:
        """The containers recorded and not committed yet."""
        with self._changed:
            return {cid for batch in self._batches for cid in batch.containers}

    def generation(self) -> int:
        """The newest generation not committed yet; 0 when there is none."""
        with self._changed:
            return max((batch.generation for batch in self._batches), default=0)

    def flush(self) -> None:
        """What was recorded before is durable on return, unless there was a fault."""
        with self._changed:
            if self._batches:
                last = self._batches[-1]
                last.due = True
                self._changed.notify_all()
                self._wait(lambda: last.over)

    def stop(self) -> bool:
        """Commit what is pending and end the thread. False when it hangs in the environment, which must stay open."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._wait(lambda: not self._batches)
        self._thread.join(0 if self._hanging else self._patience_seconds)
        return not self._thread.is_alive()

    def fail(self, fault: DdbFault) -> None:
        """Keep the first fault, drop what is pending, let everybody go."""
        with self._changed:
            self.fault = self.fault or fault
            self._batches.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._commit(batch)
            except DdbFault as fault:
                self.fail(fault)
            with self._changed:
                batch.over = True
                if self._batches:  # not dropped by a fault meanwhile
                    self._batches.popleft()
                self._changed.notify_all()

    def _next(self) -> Batch | None:
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._stopping or self.fault)
            self._changed.wait_for(
                lambda: self._stopping or self.fault or self._batches[0].due, timeout=self._batch_seconds
            )
            if not self._batches:
                return None
            self._batches[0].due = True  # nothing is added to it any more
            return self._batches[0]

    def _filling(self) -> Batch | None:
        """The batch that takes what comes now; None when nothing is taken any more."""
        if self.fault or self._stopping:
            return None
        if not self._batches or self._batches[-1].due:
            self._batches.append(Batch())
        return self._batches[-1]

    def _wait(self, done: Callable[[], bool]) -> None:
        if not self._changed.wait_for(lambda: done() or self.fault is not None, self._patience_seconds):
            self._hanging = True
            seconds = self._patience_seconds
            self.fail(DdbUnavailable(f"no commit for {seconds:g} s: another process holds the write lock"))
