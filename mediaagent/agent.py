"""The MediaAgent as a daemon, from its settings to its last drained session."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from ext import selftest
from mediaagent.assignments import Assignments
from mediaagent.metrics import ServerMetrics
from mediaagent.open_pools import OpenPools, Verify
from mediaagent.pool_store import PoolStore
from mediaagent.pools_served import PoolsServed
from mediaagent.server import MediaAgentServer, Room
from mediaagent.settings import MediaAgentSettings
from mediaagent.trust import HeardTrust
from proto import agents_pb2
from proto.agent.agent import Agent
from runtime.certificates import Identity
from runtime.clock import SystemClock
from runtime.daemon import Life
from runtime.logs import configure, log
from runtime.metrics import MetricsServer
from runtime.version import VERSION

_OPEN_AGAIN_SECONDS = 60.0


def serve(settings: MediaAgentSettings) -> None:
    """Until a signal. Raises NotJoined, IdentityUnfit, SelfTestFailed, AddressUnavailable, PoolUnfit."""
    configure("mediaagent", settings.log_level)
    selftest.run()
    verify = Verify[settings.verify.upper()]
    clock, registry = SystemClock(), CollectorRegistry()
    life = Life(clock)
    metrics = MetricsServer(registry, settings.metrics.host, settings.metrics.port)
    pools = OpenPools()
    store = PoolStore(settings.state, clock)
    listed = [
        store.listed(pool.name, pool.url, None if pool.key_file is None else pool.key_file.path())
        for pool in settings.pools
    ]
    kept = PoolsServed(store, listed, pools, verify)
    servers: list[MediaAgentServer] = []

    def renewed(identity: Identity) -> None:
        for server in servers:
            server.use(identity)

    with Agent(settings.state, clock, renewed) as agent:
        log().info("starting", version=VERSION, agent=agent.membership.agent.uri)
        kept.open_waiting()
        trust = HeardTrust(agent)
        room = Room(sessions=settings.sessions, container_buffers=settings.container_buffers)
        told = ServerMetrics(registry)
        server = MediaAgentServer(
            agent.identity, settings.control, settings.data, pools, trust, room, clock, time.time, told
        )
        servers.append(server)
        log().info("serving", control_port=server.control_port, data_port=server.data_port)

        def about_us() -> agents_pb2.RegisterRequest:
            kept.open_waiting()
            return agents_pb2.RegisterRequest(host=os.uname().nodename, pools=kept.seen())

        def open_more() -> None:
            """A repository that did not answer at the start may answer now."""
            if kept.open_waiting():
                agent.register_again()

        stop = threading.Event()
        counting, reading = server.sessions.count_in, agent.line.points_read
        work = Assignments(kept, open_more, reading, counting, agent.unseal, clock)
        loop = agent.start(about_us, work.handlers(), settings.slots, registry)
        threading.Thread(target=_keep_opening, args=(open_more, stop), name="pools", daemon=True).start()
        life.run(lambda: loop.healthy, ends_with_parent=settings.ends_with_parent)
        stop.set()
        over = clock.monotonic_seconds() + settings.drain_seconds
        server.drain()
        agent.drain(settings.drain_seconds)
        server.stop(max(0.0, over - clock.monotonic_seconds()))
    pools.close()
    metrics.close()
    log().info("stopped")


def _keep_opening(open_more: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(_OPEN_AGAIN_SECONDS):
        open_more()
