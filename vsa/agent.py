"""The VSA as a daemon, from its settings to its last drained assignment."""

from __future__ import annotations

import os
from functools import partial

from ext import selftest
from proto import agents_pb2
from proto.agent.agent import Agent
from runtime.clock import SystemClock
from runtime.daemon import Life
from runtime.logs import configure, log
from runtime.version import VERSION
from vsa.discovery import discover
from vsa.settings import VsaSettings


def serve(settings: VsaSettings) -> None:
    """Until a signal. Raises NotJoined, IdentityUnfit, SelfTestFailed, MetricsUnavailable."""
    configure("vsa", settings.log_level)
    selftest.run()
    clock = SystemClock()
    life = Life(clock)
    with Agent(settings.state, clock) as agent:
        log().info("starting", version=VERSION, agent=agent.membership.agent.uri)
        loop = agent.start(_about_us, {"discover": partial(discover, line=agent.line)}, settings.slots)
        life.run(lambda: loop.healthy, ends_with_parent=settings.ends_with_parent)
        agent.drain(settings.drain_seconds)
    log().info("stopped")


def _about_us() -> agents_pb2.RegisterRequest:
    return agents_pb2.RegisterRequest(host=os.uname().nodename)
