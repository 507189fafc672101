"""The pools that this MediaAgent serves: each with its repository open, its index and its footers."""

from __future__ import annotations

import enum
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from media.container_check import ContainerCheck
from media.container_reader import ContainerReader
from media.known_chunks import KnownChunks
from media.pool import Pool
from media.session_log import Terms
from media.tree import TreeReader
from mediaagent.ddb.pool_index import Told, pool_index
from mediaagent.faults import PoolUnknown
from runtime.logs import log
from runtime.tasks import worker_count


class Verify(enum.Enum):
    """How many records of an arriving container are opened before others may rely on them."""

    ALL = 1
    SAMPLE = 16  # every 16th
    NONE = 0


@dataclass(frozen=True)
class OpenPool:
    """A pool that is served."""

    name: str
    pool: Pool
    known: KnownChunks
    containers: ContainerReader
    tree: TreeReader
    checks: queue.SimpleQueue[ContainerCheck]

    @property
    def id(self) -> str:
        return str(self.pool.id)

    @contextmanager
    def checking(self) -> Iterator[ContainerCheck]:
        """A check for arriving containers; there is one a core, so who comes later waits."""
        check = self.checks.get()
        try:
            yield check
        finally:
            self.checks.put(check)


class OpenPools:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._by_id: dict[str, tuple[OpenPool, ExitStack]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, pool: Pool, index: Path, verify: Verify) -> OpenPool:
        """Serve a pool; its index lies in the directory `index`. Raises RepositoryFault."""
        stack, notes = ExitStack(), list[str]()
        told = Told(lambda count: log().info("reading footers", pool=name, containers=count), lambda _: None)
        opened = stack.enter_context(pool_index(pool, index, told, notes))
        for note in notes:
            log().warning("index", pool=name, note=note)
        checks: queue.SimpleQueue[ContainerCheck] = queue.SimpleQueue()
        for _ in range(worker_count()):
            checks.put(ContainerCheck(Terms.of(pool), verify.value))
        tree = TreeReader(opened.containers, pool.keys.page)
        served = OpenPool(name, pool, opened.known, opened.containers, tree, checks)
        with self._lock:
            if served.id in self._by_id:
                stack.close()
                return self._by_id[served.id][0]
            self._by_id[served.id] = served, stack
        return served

    def remove(self, pool_id: str) -> None:
        """Serve it no more; what was recorded in its index is durable."""
        with self._lock:
            found = self._by_id.pop(pool_id, None)
        if found is not None:
            found[1].close()

    def get(self, pool_id: str) -> OpenPool:
        """Raises PoolUnknown."""
        with self._lock:
            found = self._by_id.get(pool_id)
        if found is None:
            raise PoolUnknown(f"pool {pool_id[:40]}: not served here")
        return found[0]

    def all(self) -> list[OpenPool]:
        """Those that are served now."""
        with self._lock:
            return [served for served, _ in self._by_id.values()]

    def close(self) -> None:
        """Serve none; what was recorded in their indexes is durable."""
        with self._lock:
            closing, self._by_id = list(self._by_id.values()), {}
        for _, stack in closing:
            stack.close()
