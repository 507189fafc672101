"""The settings of a VSA (docs/operations.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.settings import at_least, check_daemon


@dataclass(frozen=True)
class Metrics:
    """Where Prometheus asks. Loopback, because whoever can ask needs no password."""

    host: str = "127.0.0.1"
    port: int = 9402


@dataclass(frozen=True)
class VsaSettings:
    """`state` holds what joining left; restores to files land only below `landing`."""

    state: Path
    landing: tuple[Path, ...] = ()
    slots: int = 4  # machines at once
    workers: int = 0  # threads of one backup or restore; 0: one a core, five at most
    drain_seconds: float = 300.0
    log_level: str = "info"
    metrics: Metrics = Metrics()
    ends_with_parent: bool = False  # for `ingot up`, whose children do not outlive it

    def __post_init__(self) -> None:
        at_least(1, slots=self.slots)
        at_least(0, workers=self.workers)
        check_daemon(self.log_level, self.metrics.port, self.drain_seconds)
