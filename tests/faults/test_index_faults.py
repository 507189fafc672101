"""The index deleted, corrupt, another repository's, none at all, or lying: a backup is right whatever it says."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from ingot.embedded import rebuild_index
from media.ids import CONTAINERS, cid_of, cid_of_name
from media.recovery_point import list_points, read_point
from media.session import Session
from mediaagent.ddb.chunk_index import open_index
from tests.faults.scenario import (
    OPEN,
    Quiet,
    assert_points,
    back_up_image,
    changed_disk,
    distinct_bytes,
    first_disk,
    make_repo,
    open_repo_at,
)
from tests.faults.unsynced_posix import unsynced
from tests.faults.writer_process import Job, context, ended, run_backup

DISK = first_disk(3)
CHANGED, _ = changed_disk(DISK, 2)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class Site:
    """A repository with one point, its index, and another machine that is about to be backed up."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.root, self.index, self.image = directory / "repository", directory / "index", directory / "disk.raw"
        self.repo = make_repo(unsynced(self.root))
        back_up_image(self.repo, self.image, DISK, self.index)

    def told_after(self, disk: bytes) -> dict[str, object]:
        """What a backup of a clone of the machine tells, by a process of its own: a corrupt index may end it."""
        self.image.write_bytes(disk)
        job = Job(self.root, self.index, self.image, OPEN, machine="clone", parent="none")
        process = context().Process(target=run_backup, args=(job,))
        process.start()
        assert ended(process) == 0
        told = json.loads(self.image.with_suffix(".told").read_text())
        repo = open_repo_at(unsynced(self.root))
        assert_points(repo.pool, {1: DISK, int(told["point"], 16): disk}, {2: disk})
        return {"notes": " ".join(told["notes"]), "new_bytes": told["statistics"]["new_bytes"]}


def zero(index: Path) -> None:
    size = (index / "data.mdb").stat().st_size
    (index / "data.mdb").write_bytes(bytes(size))


def truncate(index: Path) -> None:
    with (index / "data.mdb").open("r+b") as data:
        data.truncate(data.seek(0, 2) // 2 // 4096 * 4096)


def empty(index: Path) -> None:
    (index / "data.mdb").write_bytes(b"")


def scribble_identity(index: Path) -> None:
    (index / "ddb.json").write_bytes(b"{")


def drop_lock(index: Path) -> None:
    (index / "lock.mdb").unlink()


def delete_footers(index: Path) -> None:
    shutil.rmtree(index / "footers")


def scribble_footers(index: Path) -> None:
    for footer in (index / "footers").rglob("*"):
        if footer.is_file():
            footer.write_bytes(footer.read_bytes()[:-20] + bytes(20))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (zero, "rebuilt empty"),
        (truncate, "rebuilt empty"),
        (empty, "rebuilt empty"),
        (scribble_identity, "rebuilt empty"),
        (shutil.rmtree, ""),
        (drop_lock, ""),
        (delete_footers, ""),
        (scribble_footers, ""),
    ],
)
def test_a_damaged_index_is_made_anew_from_footers_and_the_clone_stores_nothing(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    site = Site(tmp_path)
    damage(site.index)
    told = site.told_after(DISK)
    assert says in str(told["notes"])
    assert bool(told["notes"]) == bool(says)
    assert told["new_bytes"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_in_an_index_cost_space_at_most(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path)
    data = bytearray((site.index / "data.mdb").read_bytes())
    rng = random.Random(seed)
    for _ in range(1 + 20 * seed):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (site.index / "data.mdb").write_bytes(data)
    site.told_after(CHANGED)


def test_a_file_in_place_of_an_index_costs_its_dedup_and_is_told(tmp_path: Path) -> None:
    site = Site(tmp_path)
    shutil.rmtree(site.index)
    site.index.write_text("not an index")
    told = site.told_after(DISK)
    assert "the index cannot be used" in str(told["notes"])
    assert site.index.read_text() == "not an index"


def test_the_index_of_another_repository_is_left_alone_and_told(tmp_path: Path) -> None:
    site, other = Site(tmp_path / "one"), Site(tmp_path / "other")
    shutil.rmtree(site.index)
    shutil.copytree(other.index, site.index)
    told = site.told_after(DISK)
    assert "another repository" in str(told["notes"])
    with open_index(site.index, other.repo.pool.id.bytes) as index:
        assert index.containers()
        assert not index.notes


def test_every_lie_of_an_index_is_caught_by_a_footer(tmp_path: Path) -> None:
    """Wrong slots, slots past the end, a container of pages, one that is not there, and one that it did not learn."""
    site = Site(tmp_path)
    cids = [cid for entry in site.repo.pool.repository.list(CONTAINERS) if (cid := cid_of_name(entry.name))]
    footers = {cid: site.repo.containers.footer(cid) for cid in cids}
    pages = [cid for cid in cids if footers[cid]["type"][0] == 2]
    data = [cid for cid in cids if cid not in pages]
    with open_index(site.index, site.repo.pool.id.bytes) as index:
        for number, cid in enumerate(data):
            fingerprints = np.ascontiguousarray(footers[cid]["fingerprint"])
            lies = [cid, pages[0], cid_of(1, 999), data[number - 1]]
            index.record(lies[number % 4], np.ascontiguousarray(np.roll(fingerprints, 1, axis=0)))
    told = site.told_after(CHANGED)
    assert int(str(told["new_bytes"])) > 0

    # The second time everything has been stored again, and the newest place of a chunk is the right one.
    site.image.write_bytes(CHANGED)
    again = back_up_image(
        open_repo_at(unsynced(site.root)), site.image, CHANGED, site.index, parent="none", machine="x"
    )
    assert again.statistics["new_bytes"] == 0


def test_a_rebuild_brings_dedup_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with open_index(site.index, site.repo.pool.id.bytes) as index:
        index.forget(index.containers())
    first = read_point(site.repo.pool, list_points(site.repo.pool).find("latest"))
    assert site.told_after(DISK)["new_bytes"] == distinct_bytes(site.repo.pool, first.disks[0])
    shutil.rmtree(site.index)
    learned = rebuild_index(open_repo_at(unsynced(site.root)), site.index, Quiet()).learned
    assert learned.containers > 0
    assert not learned.damaged
    repo = open_repo_at(unsynced(site.root))
    clone = back_up_image(repo, site.image, DISK, site.index, parent="none", machine="fourth")
    assert clone.statistics["new_bytes"] == 0
    assert not repo.notes


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_index_from_before_its_repository_was_rolled_back_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    """Session numbers are given out again then: its places name containers that are other ones now."""
    site = Site(tmp_path)
    before = tmp_path / "before"
    shutil.copytree(site.root, before)
    lost, _ = changed_disk(DISK, 3, first=0, blocks=16)
    with monkeypatch.context() as broken, ExitStack() as ending:
        if interrupted:
            broken.setattr(Session, "commit", interrupt)
            ending.enter_context(pytest.raises(KeyboardInterrupt))
        back_up_image(open_repo_at(unsynced(site.root)), site.image, lost, site.index, machine="lost")
    shutil.rmtree(site.root)
    shutil.copytree(before, site.root)
    other, _ = changed_disk(DISK, 4, first=0, blocks=16)
    elsewhere = tmp_path / "elsewhere"
    back_up_image(open_repo_at(unsynced(site.root)), site.image, other, elsewhere, machine="other")
    repo = open_repo_at(unsynced(site.root))
    again = back_up_image(repo, site.image, lost, site.index, machine="lost")
    assert_points(repo.pool, {1: DISK, 2: other, 3: lost})
    assert any("roll-back" in note for note in repo.notes)
    assert again.statistics["new_bytes"] > 0
