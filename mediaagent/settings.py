"""The settings of a MediaAgent (docs/operations.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.settings import Secret, at_least, check_daemon, one_of, split


@dataclass(frozen=True)
class Metrics:
    """Where Prometheus asks. Loopback, because whoever can ask needs no password."""

    host: str = "127.0.0.1"
    port: int = 9401


@dataclass(frozen=True)
class PoolSettings:
    """A pool that exists, served besides those that were created through this MediaAgent."""

    name: str
    url: str
    key_file: Secret | None = None  # none: the repository is not encrypted


@dataclass(frozen=True)
class MediaAgentSettings:
    """`state` holds what joining left, keys of created pools, and indexes."""

    state: Path
    control: str = "0.0.0.0:8402"
    data: str = "0.0.0.0:8403"
    pools: tuple[PoolSettings, ...] = ()
    verify: str = "all"  # all | sample | none: how many records of an arriving container are opened
    sessions: int = 100
    container_buffers: int = 8
    slots: int = 4  # assignments at once
    drain_seconds: float = 300.0
    log_level: str = "info"
    metrics: Metrics = Metrics()
    ends_with_parent: bool = False  # for `ingot up`, whose children do not outlive it

    def __post_init__(self) -> None:
        split(self.control, "control")
        split(self.data, "data")
        one_of("verify", self.verify, ("all", "sample", "none"))
        at_least(1, sessions=self.sessions, container_buffers=self.container_buffers, slots=self.slots)
        check_daemon(self.log_level, self.metrics.port, self.drain_seconds)
