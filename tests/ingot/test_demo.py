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
    assert [step["recovery_point"] for step in document["steps"][:3]] == ["0000000001", "0000000002", "0000000003"]
    assert document["steps"][1]["new_bytes"] < document["steps"][0]["new_bytes"]
    assert document["steps"][2]["read_bytes"] < document["steps"][1]["read_bytes"]
    assert sorted(path.name for path in Path("work").iterdir()) == ["demo.key", "disk.raw", "index", "repository"]


def test_the_demo_makes_a_disk_and_tells_where_things_lie(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_disk, "DATA_BYTES", 8 << 20)
    monkeypatch.setattr(demo_disk, "DISK_BYTES", 64 << 20)
    said = door.good("demo", "--directory", "work").out
    for text in ("first backup", "RESTORE/recover.py", "work/repository", "ingot list", "try next"):
        assert text in said
    refused = door.run("demo", "--directory", "work")
    assert refused.code == 2
    assert "work" in refused.err


def test_without_mke2fs_the_disk_is_synthetic(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_disk, "_TOOLS", "")
    monkeypatch.setattr(demo_disk, "SYNTHETIC_BYTES", 8 << 20)
    assert "synthetic" in door.document("demo", "--directory", "work")["disk"]


def test_a_demo_that_brings_back_other_bytes_fails(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingot.demo.same_bytes", lambda *_: False)
    said = door.run("demo", door.image(), "--directory", "work")
    assert said.code == 1
    assert "byte for byte" in said.err
    assert not Path("work").exists()
