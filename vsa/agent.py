"""The VSA as a daemon, from its settings to its last drained assignment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from ext import selftest
from proto import agents_pb2
from proto.agent.agent import Agent
from proto.agent.work import Work
from runtime.clock import SystemClock
from runtime.daemon import Life
from runtime.logs import configure, log
from runtime.metrics import MetricsServer
from runtime.version import VERSION
from vsa.backup.job import Means, back_up
from vsa.checking import check
from vsa.cleaning import clean
from vsa.discovery import discover
from vsa.hypervisors.known import Known
from vsa.metrics import JobMetrics
from vsa.restore.job import into, restore
from vsa.settings import VsaSettings
from vsa.watching import watch


def serve(settings: VsaSettings) -> None:
    """Until a signal. Raises NotJoined, IdentityUnfit, SelfTestFailed, MetricsUnavailable."""
    configure("vsa", settings.log_level)
    selftest.run()
    clock, registry = SystemClock(), CollectorRegistry()
    life = Life(clock)
    metrics = MetricsServer(registry, settings.metrics.host, settings.metrics.port)
    with Agent(settings.state, clock) as agent:
        log().info("starting", version=VERSION, agent=agent.membership.agent.uri)
        known, counts = Known(clock, agent.unseal, registry), JobMetrics(registry)

        def means() -> Means:
            # asked each time: certificates are renewed
            return Means(agent.identity, clock, settings.workers, agent.line.ended, known)

        def discover_(work: Work) -> Mapping[str, Any]:
            return discover(work, agent.line, known)

        def back_up_(work: Work) -> Mapping[str, Any]:
            result = back_up(work, means())
            counts.backed_up(result)
            return result

        def restore_(work: Work) -> Mapping[str, Any]:
            result = restore(work, means(), settings.landing)
            counts.restored(into(work), result)
            return result

        def watch_(work: Work) -> Mapping[str, Any]:
            return watch(work, agent.line, known, clock)

        def check_(work: Work) -> Mapping[str, Any]:
            return check(work, known)

        def clean_(work: Work) -> Mapping[str, Any]:
            return clean(work, means())

        handlers = {
            "discover": discover_,
            "watch": watch_,
            "check": check_,
            "clean": clean_,
            "backup": back_up_,
            "restore": restore_,
        }
        loop = agent.start(_about_us, handlers, settings.slots, registry)
        life.run(lambda: loop.healthy, ends_with_parent=settings.ends_with_parent)
        agent.drain(settings.drain_seconds)
        known.close()
    metrics.close()
    log().info("stopped")


def _about_us() -> agents_pb2.RegisterRequest:
    return agents_pb2.RegisterRequest(host=os.uname().nodename)
