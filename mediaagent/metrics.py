"""What a MediaAgent tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ServerMetrics:
    """All of it bounded: no name of a machine or a job is a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions = Gauge("ingot_mediaagent_sessions", "sessions that are open", registry=registry)
        self.fingerprints = Counter(
            "ingot_mediaagent_fingerprints", "fingerprints that were asked for", registry=registry
        )
        self.found = Counter("ingot_mediaagent_fingerprints_found", "those with a place that holds", registry=registry)
        self.containers = Counter(
            "ingot_mediaagent_containers", "containers that arrived and are durable", registry=registry
        )
        self.container_bytes = Counter("ingot_mediaagent_container_bytes", "their bytes", registry=registry)
        self.commits = Counter("ingot_mediaagent_commits", "recovery points that were made", registry=registry)
        self.restored_bytes = Counter(
            "ingot_mediaagent_restored_bytes", "bytes that restore streams sent, compressed", registry=registry
        )
