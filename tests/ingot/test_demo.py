"""The demo does what it says, on a disk that is given and on one that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot import demo_disk
from tests.ingot.front_door import FrontDoor


def test_the_demo_of_a_given_disk_leaves_the_disk_as_it_is(door: FrontDoor) -> None:
    image = door.image(size=5_000_003)
    before = image.read_bytes()
    document = door.document("demo", image, "--directory", "work")
    assert image.read_bytes() == before
    assert document["disk_bytes"] == 5_000_003
    backups = [step for step in document["steps"] if "recovery_point" in step]
    assert [step["recovery_point"] for step in backups] == ["0000000001", "0000000002"]
    assert backups[1]["new_bytes"] < backups[0]["new_bytes"]
    assert any("RESTORE/recover.py" in step["step"] for step in document["steps"])
    assert sorted(path.name for path in Path("work").iterdir()) == ["images", "state"]
    refused = door.run("demo", "--directory", "work")
    assert refused.code == 2
    assert "work" in refused.err


def test_a_demo_that_brings_back_other_bytes_fails_and_leaves_nothing(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.demo.same_bytes", lambda *_: False)
    monkeypatch.setattr(
        "ingot.demo._Demo._scheduled", lambda demo, rest: demo._asked(rest)
    )  # no full minute to wait for
    said = door.run("demo", door.image(), "--directory", "work")
    assert said.code == 1
    assert "byte for byte" in said.err
    assert not Path("work").exists()


def test_a_disk_is_made_of_files_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_disk, "DATA_BYTES", 8 << 20)
    monkeypatch.setattr(demo_disk, "DISK_BYTES", 64 << 20)
    assert "ext4" in demo_disk.make_disk(None, tmp_path / "disk.raw")
    assert (tmp_path / "disk.raw").stat().st_size == 64 << 20


def test_without_mke2fs_the_disk_is_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_disk, "_TOOLS", "")
    monkeypatch.setattr(demo_disk, "SYNTHETIC_BYTES", 8 << 20)
    assert "synthetic" in demo_disk.make_disk(None, tmp_path / "disk.raw")
