"""Which pools are served: those created here and those in the settings, opened as soon as their repositories answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from media.rebuild import CaughtUp
from mediaagent.ddb.pool_index import Told, rebuild_pool_index
from mediaagent.faults import PoolBusy
from mediaagent.open_pools import OpenPool, OpenPools, Verify
from mediaagent.pool_store import KeptPool, PoolStore
from proto import agents_pb2
from runtime.faults import Fault
from runtime.logs import log


class PoolsServed:
    """Safe to use from several threads: one changes at a time."""

    def __init__(self, store: PoolStore, listed: list[KeptPool], pools: OpenPools, verify: Verify) -> None:
        self._store = store
        self._pools = pools
        self._verify = verify
        self._waiting = [*store.kept(), *listed]  # to be opened
        self._open: dict[str, KeptPool] = {}
        self._changing = threading.Lock()

    def open_waiting(self) -> bool:
        """Open what is not open yet; one that cannot be opened stays waiting, and the log says why. Whether one was."""
        with self._changing:
            still: list[KeptPool] = []
            before = len(self._waiting)
            for kept in self._waiting:
                try:
                    self._serve(kept)
                except Fault as fault:
                    log().error("pool not served", pool=kept.name, code=fault.code, message=str(fault))
                    still.append(kept)
            self._waiting = still
            return len(still) < before

    def _serve(self, kept: KeptPool) -> OpenPool:
        pool = kept.open()
        served = self._pools.add(kept.name, pool, self._store.index_of(pool), self._verify)
        self._open[served.id] = kept
        log().info("pool served", pool=kept.name, id=served.id, url=pool.repository.url)
        return served

    def get(self, pool_id: str) -> OpenPool:
        """Raises PoolUnknown."""
        return self._pools.get(pool_id)

    def create(self, name: str, url: str, average_chunk_bytes: int, secret: str = "", *, encrypted: bool) -> OpenPool:
        """Make a repository and serve it. Raises RepositoryFault, PoolUnfit."""
        with self._changing:
            kept, _ = self._store.create(name, url, average_chunk_bytes, secret, encrypted=encrypted)
            return self._serve(kept)

    def keep_secret(self, url: str, secret: str) -> None:
        """Replace a place's credentials; sessions that run go on with them. Raises RepositoryFault, PoolUnfit."""
        with self._changing:
            self._store.keep_secret(url, secret)

    def rebuild(self, pool_id: str, sessions_in: Callable[[str], int]) -> CaughtUp:
        """Make a pool's index anew; meanwhile the pool is not served. Raises PoolBusy, PoolUnknown, DdbFault."""
        with self._changing:
            served = self._pools.get(pool_id)
            running = sessions_in(pool_id)
            if running:
                raise PoolBusy(f"pool {served.name}: {running} sessions use its index; later")
            kept = self._open[pool_id]
            self._pools.remove(pool_id)
            notes: list[str] = []
            try:
                quiet = Told(lambda _: None, lambda _: None)
                rebuilt = rebuild_pool_index(served.pool, self._store.index_of(served.pool), quiet, notes)
            finally:
                self._serve(kept)
            for note in notes:
                log().warning("index", pool=kept.name, note=note)
            return rebuilt.learned

    def seen(self) -> list[agents_pb2.PoolSeen]:
        """What is served, for the CommServe."""
        return [
            agents_pb2.PoolSeen(id=served.id, name=served.name, url=served.pool.repository.url)
            for served in self._pools.all()
        ]
