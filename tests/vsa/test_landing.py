"""Restores land below the agent's landing directories, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.faults import TargetExists
from vsa.disks.target import open_target
from vsa.faults import LandingRefused
from vsa.landing import opened


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    return tmp_path / "landing"


def test_a_restore_lands_below_and_directories_are_made(landing: Path) -> None:
    with (
        opened([landing], str(landing / "a/b")) as path,
        open_target(path / "disk-0.raw", 4, overwrite=False) as target,
    ):
        target.write(0, memoryview(b"disk"))
        target.finish()
    assert (landing / "a/b/disk-0.raw").read_bytes() == b"disk"


@pytest.mark.parametrize("wanted", ["/etc", "relative", "", "{landing}/../out", "{landing}x", "{landing}/a\0b"])
def test_any_other_place_is_refused_and_not_made(landing: Path, wanted: str) -> None:
    with pytest.raises(LandingRefused, match="landing"), opened([landing], wanted.format(landing=landing)):
        pass
    assert list(landing.iterdir()) == []
    assert list(landing.parent.iterdir()) == [landing]


def test_a_link_inside_leads_nowhere(landing: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (landing / "link").symlink_to(tmp_path / "outside")
    for wanted in ("link", "link/deep"):
        with pytest.raises(LandingRefused, match="no link"), opened([landing], str(landing / wanted)):
            pass
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_directory_that_is_exchanged_meanwhile_does_not_move_the_restore(landing: Path, tmp_path: Path) -> None:
    with opened([landing], str(landing / "a")) as path:
        (landing / "a").rename(landing / "b")
        (tmp_path / "outside").mkdir()
        (landing / "a").symlink_to(tmp_path / "outside")
        with open_target(path / "disk-0.raw", 4, overwrite=False) as target:
            target.finish()
    assert (landing / "b/disk-0.raw").exists()
    assert list((tmp_path / "outside").iterdir()) == []


def test_faults_name_the_path_that_people_know(landing: Path) -> None:
    (landing / "a").mkdir()
    (landing / "a/disk-0.raw").touch()
    with (
        pytest.raises(TargetExists, match=str(landing / "a/disk-0.raw")),
        opened([landing], str(landing / "a")) as path,
    ):
        open_target(path / "disk-0.raw", 4, overwrite=False)
