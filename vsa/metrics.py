"""What is counted of a VSA's backups and restores, from what their jobs result in; docs/metrics.md lists it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter

_WRITTEN = {
    "written": "bytes_written",
    "compared": "compared_bytes",
    "kept": "kept_bytes",
    "read_back": "read_back_bytes",
    "lost": "lost_bytes",
}


class JobMetrics:
    """One of a process. No name of a machine is a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._backups = Counter(
            "ingot_vsa_backups",
            "Backups that ended well, by how still it stood",
            ["quiesced"],
            registry=registry,
        )
        self._changed = Counter(
            "ingot_vsa_changed_bytes", "What hypervisors said had changed of disks", registry=registry
        )
        self._proof_bytes = Counter(
            "ingot_vsa_proof_read_bytes", "Read of what was called unchanged", registry=registry
        )
        self._proof_cells = Counter(
            "ingot_vsa_proof_cells", "Cells of 2 MiB compared of what was called unchanged", registry=registry
        )
        self._wrong_cells = Counter("ingot_vsa_proof_wrong_cells", "Those that had changed", registry=registry)
        self._restores = Counter(
            "ingot_vsa_restores", "Restores that ended well, by where to", ["into"], registry=registry
        )
        self._restored = Counter(
            "ingot_vsa_restore_bytes", "Bytes of disks restored, by what was done", ["into", "what"], registry=registry
        )

    def backed_up(self, result: Mapping[str, Any]) -> None:
        """The result of a `backup`."""
        self._backups.labels(result.get("snapshot", {}).get("quiesced", "none")).inc()
        for disk in result.get("disks", ()):
            self._changed.inc(disk.get("changed_bytes", 0))
            proof = disk.get("proof", {})
            self._proof_bytes.inc(proof.get("read_bytes", 0))
            self._proof_cells.inc(proof.get("cells", 0))
            self._wrong_cells.inc(proof.get("wrong_cells", 0))

    def restored(self, into: str, result: Mapping[str, Any]) -> None:
        """The result of a `restore` into a directory, or a machine that is new, there, or given more disks."""
        self._restores.labels(into).inc()
        for what, member in _WRITTEN.items():
            self._restored.labels(into, what).inc(result.get(member, 0))
