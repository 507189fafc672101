"""A job as people read it."""

from __future__ import annotations

from typing import Any

from ingot.cli.service.job_page import lines_of

JOB: dict[str, Any] = {
    "id": "01a2",
    "kind": "backup",
    "state": "DONE_WITH_WARNINGS",
    "machine_name": "web1",
    "fault": None,
    "warnings": ["quiesce: application failed"],
    "result": {
        "recovery_point": "000000002a",
        "read_bytes": 7 << 20,
        "new_bytes": 3 << 20,
        "seconds": 2.0,
        "snapshot": {"quiesced": "filesystem", "seconds": 12.34, "creation_seconds": 0.412, "removed": True},
        "disks": [
            {
                "key": "6000c29a",
                "name": "db.vmdk",
                "read": "incremental",
                "reason": "changes since 52 f8/1",
                "changed_bytes": 6 << 20,
                "changed_areas": 12,
                "proof": {"cells": 179, "of_cells": 5120},
            },
            {"key": "6000c29b", "name": "\x1b[31m.vmdk", "read": "full", "reason": "no backup before"},
        ],
        "not_protected": [{"key": "6000c29c", "name": "shared.vmdk", "reason": "independent"}],
    },
}


def test_a_backup_of_a_vcenters_machine_says_how_long_its_snapshot_was_there_and_how_each_disk_was_read() -> None:
    assert lines_of(JOB) == [
        "backup web1 done_with_warnings  job 01a2",
        "  point    000000002a",
        "  read     7.00 MiB, 3.50 MiB/s; new 3.00 MiB",
        "  snapshot filesystem, made in 0.41 s, was there for 12.3 s",
        "  disk     db.vmdk incremental, 6.00 MiB changed; proven: 179 cells of 5120",
        r"  disk     \x1b[31m.vmdk full: no backup before",
        "  left out shared.vmdk: independent",
        "  warning  quiesce: application failed",
    ]


def test_a_snapshot_that_could_not_be_removed_is_there() -> None:
    left = {**JOB, "result": {"snapshot": {**JOB["result"]["snapshot"], "removed": False}}}
    assert "  snapshot filesystem, made in 0.41 s, is still there" in lines_of(left)


def test_disks_of_a_restore_are_no_disks_that_were_held() -> None:
    restored = {**JOB, "kind": "restore", "warnings": [], "result": {"directory": "/r", "disks": [{"path": "/r/0"}]}}
    assert lines_of(restored) == ["restore web1 done_with_warnings  job 01a2", "  directory /r"]


def test_a_job_that_has_not_ended_has_a_line() -> None:
    assert lines_of({**JOB, "state": "RUNNING", "warnings": [], "result": {}}) == ["backup web1 running  job 01a2"]
