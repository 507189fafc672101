"""The settings of a CommServe (docs/operations.md)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from runtime.settings import at_least, check_daemon, split

LEAST_DAYS = 8  # a hypervisor that is looked at once a week is known by its last look


@dataclass(frozen=True)
class Metrics:
    """Where Prometheus asks. Loopback, because whoever can ask needs no password."""

    host: str = "127.0.0.1"
    port: int = 9400


@dataclass(frozen=True)
class CommServeSettings:
    """`http` speaks TLS unless it is on loopback. `names`: hosts by which others reach us, for the certificate."""

    state: Path
    http: str = "127.0.0.1:8400"
    agents: str = "127.0.0.1:8401"
    names: tuple[str, ...] = ()
    agents_address: str = ""  # as agents are to dial it, where that is not `agents` on the host that they know us by
    log_level: str = "info"
    drain_seconds: float = 20.0
    keep_jobs_days: int = 90  # after they ended
    metrics: Metrics = Metrics()
    ends_with_parent: bool = False  # for `ingot up`, whose children do not outlive it

    def __post_init__(self) -> None:
        split(self.http, "http")
        split(self.agents, "agents")
        if self.agents_address:
            split(self.agents_address, "agents_address")
        at_least(LEAST_DAYS, keep_jobs_days=self.keep_jobs_days)
        check_daemon(self.log_level, self.metrics.port, self.drain_seconds)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
