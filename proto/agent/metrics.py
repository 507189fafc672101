"""What Prometheus hears of an agent's work; docs/metrics.md lists it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proto import agents_pb2

_MINUTES = (0.1, 1, 5, 15, 60, 240, 960)


class AgentMetrics:
    """One for each process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._running = Gauge(
            "ingot_agent_assignments_running", "Assignments that the agent works on", ["kind"], registry=registry
        )
        self._ended = Counter(
            "ingot_agent_assignments", "Assignments that ended, by how", ["kind", "state"], registry=registry
        )
        self._seconds = Histogram(
            "ingot_agent_assignment_seconds",
            "How long assignments took",
            ["kind"],
            buckets=[60 * minutes for minutes in _MINUTES],
            registry=registry,
        )
        self._bytes = Counter(
            "ingot_agent_bytes", "Bytes of a disk that were done, and bytes stored", ["kind", "what"], registry=registry
        )
        self._silent = Gauge(
            "ingot_agent_commserve_silent_seconds", "Since the CommServe answered a heartbeat", registry=registry
        )

    def silent_since(self, seconds: Callable[[], float]) -> None:
        """`seconds` is asked whenever somebody looks."""
        self._silent.set_function(seconds)

    def began(self, kind: str) -> None:
        self._running.labels(kind).inc()

    def ended(self, kind: str, state: str, seconds: float, progress: agents_pb2.Progress) -> None:
        self._running.labels(kind).dec()
        self._ended.labels(kind, state).inc()
        self._seconds.labels(kind).observe(seconds)
        self._bytes.labels(kind, "done").inc(progress.done_bytes)
        self._bytes.labels(kind, "stored").inc(progress.stored_bytes)
