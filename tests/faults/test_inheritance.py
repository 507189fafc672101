"""What a new point inherits is there: containers that went away since the parent cost space, never the point."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.container import Kind
from media.ids import CONTAINERS, sid_text
from media.marks import MarkKind, put_mark
from media.parents import is_suspect
from media.recovery_point import list_points
from tests.faults.scenario import (
    BLOCK,
    back_up_image,
    changed_disk,
    first_disk,
    make_repo,
    open_repo_at,
    restored,
)
from tests.faults.unsynced_posix import unsynced

DISK = first_disk(3)


def containers(root: Path, sid: int, kind: Kind = Kind.DATA) -> list[Path]:
    """Of a session's containers those of a kind, which their eleventh byte says."""
    return sorted(path for path in (root / CONTAINERS / sid_text(sid)).iterdir() if path.read_bytes()[10] == kind)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("tracked", [False, True], ids=["read-whole", "changed-extents"])
def test_a_container_that_went_away_is_not_inherited(tmp_path: Path, kind: Kind, tracked: bool) -> None:
    root, index, image = tmp_path / "repository", tmp_path / "index", tmp_path / "disk.raw"
    repo = make_repo(unsynced(root))
    first = back_up_image(repo, image, DISK, index)
    containers(root, first.sid, kind)[0].unlink()
    new, changes = changed_disk(DISK, 5, first=2, blocks=2)
    repo = open_repo_at(unsynced(root))
    point = back_up_image(repo, image, new, index, (first.id, changes) if tracked else None)
    assert restored(repo.pool, list_points(repo.pool).find(point.id)) == new
    assert repo.notes


def test_the_same_image_again_stores_what_went_away(tmp_path: Path) -> None:
    root, index, image = tmp_path / "repository", tmp_path / "index", tmp_path / "disk.raw"
    first = back_up_image(make_repo(unsynced(root)), image, DISK, index)
    containers(root, first.sid)[0].unlink()
    repo = open_repo_at(unsynced(root))
    point = back_up_image(repo, image, DISK, index)
    assert point.statistics["new_bytes"] >= BLOCK
    assert restored(repo.pool, list_points(repo.pool).find(point.id)) == DISK


@pytest.mark.parametrize("parent", ["auto", "1"])
def test_nothing_is_inherited_from_a_suspect_point(tmp_path: Path, parent: str) -> None:
    root, index, image = tmp_path / "repository", tmp_path / "index", tmp_path / "disk.raw"
    repo = make_repo(unsynced(root))
    first = back_up_image(repo, image, DISK, index)
    put_mark(repo.pool, first.sid, MarkKind.SUSPECT, "test", "", repo.clock)
    assert is_suspect(repo.pool, list_points(repo.pool).find("1"))
    point = back_up_image(repo, image, DISK, index, parent=parent)
    assert point.parent is None
    assert any("suspect" in note for note in repo.notes)
