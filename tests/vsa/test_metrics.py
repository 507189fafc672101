"""What jobs result in is counted."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from vsa.metrics import JobMetrics


def test_backups_and_restores_are_counted_by_what_they_did() -> None:
    registry = CollectorRegistry()
    metrics = JobMetrics(registry)
    proof = {"read_bytes": 20, "cells": 3, "wrong_cells": 1}
    metrics.backed_up({"snapshot": {"quiesced": "crash"}, "disks": [{"changed_bytes": 7, "proof": proof}, {}]})
    metrics.backed_up({})
    metrics.restored("in_place", {"bytes_written": 5, "compared_bytes": 6, "lost_bytes": 0})

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("ingot_vsa_backups_total", quiesced="crash") == 1
    assert value("ingot_vsa_backups_total", quiesced="none") == 1
    assert value("ingot_vsa_changed_bytes_total") == 7
    assert value("ingot_vsa_proof_read_bytes_total") == 20
    assert value("ingot_vsa_proof_cells_total") == 3
    assert value("ingot_vsa_proof_wrong_cells_total") == 1
    assert value("ingot_vsa_restores_total", into="in_place") == 1
    assert value("ingot_vsa_restore_bytes_total", into="in_place", what="written") == 5
    assert value("ingot_vsa_restore_bytes_total", into="in_place", what="compared") == 6
