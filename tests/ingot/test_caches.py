"""What is kept beside an index spares requests and changes nothing else."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from ingot.embedded import Repo, read_beside_index
from media.chunk_reader import ChunkReader
from media.disk_view import DiskView
from media.extents import Extent
from media.ids import cid_of_name
from media.recovery_point import RecoveryPoint
from media.repository.memory import MemoryRepository
from media.session import PAGES_SEQ
from tests.faults.scenario import SEALED, back_up_image, changed_disk, first_disk, make_repo, open_repo_at, restore_disk
from tests.media.fakes import Recording

DISK = first_disk(segments=20)


class Site:
    """A sealed repository in memory, and a machine with an index in its state directory."""

    def __init__(self, directory: Path) -> None:
        self.memory = MemoryRepository()
        self.image = directory / "disk.raw"
        make_repo(self.memory, SEALED)
        self.index = directory / "state" / "ingot" / str(open_repo_at(self.memory, SEALED).pool.id)

    def open(self) -> tuple[Repo, Recording]:
        recording = Recording(self.memory)
        return open_repo_at(recording, SEALED), recording

    def back_up(self, disk: bytes, changes: list[Extent] | None = None, since: str = "") -> tuple[str, Recording]:
        repo, recording = self.open()
        changed = None if changes is None else (since, changes)
        point = back_up_image(repo, self.image, disk, self.index, changed)
        assert not repo.notes
        return point.id, recording

    def restore(self) -> tuple[bytes, Recording]:
        """By a process of its own."""
        repo, recording = self.open()
        point = newest(repo)
        read_beside_index(repo, point)
        data, outcome = restore_disk(repo.pool, point.disks[0], repo.containers)
        assert not outcome.lost
        return data, recording


def newest(repo: Repo) -> RecoveryPoint:
    from media.recovery_point import list_points, read_point

    return read_point(repo.pool, list_points(repo.pool).commits[-1])


def pages_and_footers(recording: Recording) -> list[str]:
    """The requests for pages and footers of containers."""
    found = []
    for request in recording.counts:
        kind, name = request.split(" ")
        cid = cid_of_name(name)
        if cid is not None and (kind == "tail" or cid & PAGES_SEQ):
            found.append(request)
    return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Site(tmp_path)


def test_an_incremental_asks_for_no_page_and_no_footer_that_this_machine_stored_or_read(site: Site) -> None:
    first, _ = site.back_up(DISK)
    disk, changes = changed_disk(DISK, 2)
    second, recording = site.back_up(disk, changes, since=first)
    assert pages_and_footers(recording) == []
    disk, changes = changed_disk(disk, 3)
    _, recording = site.back_up(disk, changes, since=second)
    assert pages_and_footers(recording) == []
    _, recording = site.back_up(disk)
    assert pages_and_footers(recording) == []
    assert site.restore()[0] == disk


def test_a_backup_lists_the_containers_once(site: Site) -> None:
    first, recording = site.back_up(DISK)
    assert recording.lists["c/"] == 1
    disk, changes = changed_disk(DISK, 2)
    _, recording = site.back_up(disk, changes, since=first)
    assert recording.lists["c/"] == 1


def test_a_container_that_went_away_is_found_missing_with_that_one_list(site: Site) -> None:
    site.back_up(DISK)
    gone = next(e.name for e in site.memory.list("c/") if not (cid_of_name(e.name) or 0) & PAGES_SEQ)
    site.memory.delete(gone)
    repo, _ = site.open()
    back_up_image(repo, site.image, DISK, site.index)
    assert site.restore()[0] == DISK


def test_who_did_not_store_it_asks_once(site: Site) -> None:
    site.back_up(DISK)
    shutil.rmtree(site.index / "pages")
    shutil.rmtree(site.index / "footers")
    data, recording = site.restore()
    assert data == DISK
    assert pages_and_footers(recording)
    data, recording = site.restore()
    assert data == DISK
    assert pages_and_footers(recording) == []


def test_a_second_mount_asks_for_no_page_and_no_footer(site: Site) -> None:
    site.back_up(DISK)
    shutil.rmtree(site.index / "pages")
    shutil.rmtree(site.index / "footers")
    for number in range(2):
        repo, recording = site.open()
        point = newest(repo)
        read_beside_index(repo, point)
        with ChunkReader(repo.pool, repo.containers) as chunks:
            buffer = bytearray(len(DISK))
            DiskView(repo.pool, chunks, point.disks[0]).read_into(0, memoryview(buffer))
        assert buffer == DISK
        assert bool(pages_and_footers(recording)) == (number == 0)


def test_without_an_index_nothing_is_kept(site: Site) -> None:
    site.back_up(DISK)
    shutil.rmtree(site.index)
    assert site.restore()[0] == DISK
    assert not site.index.exists()


def test_no_plaintext_of_an_encrypted_pool_is_kept(site: Site) -> None:
    """A page names fingerprints: one that is on the disk could be looked for."""
    site.back_up(DISK)
    repo, _ = site.open()
    cid = next(cid for e in site.memory.list("c/") if (cid := cid_of_name(e.name)) and not cid & PAGES_SEQ)
    fingerprint = repo.containers.footer(cid)["fingerprint"][0].tobytes()
    kept = [path.read_bytes() for path in (site.index / "pages").rglob("*") if path.is_file()]
    assert kept
    assert not any(fingerprint in content for content in kept)


@pytest.mark.parametrize("seed", range(8))
def test_a_corrupt_cache_is_a_cache_of_misses(site: Site, seed: int) -> None:
    site.back_up(DISK)
    disk, _ = changed_disk(DISK, 2)
    rng = random.Random(seed)
    for path in [path for kind in ("pages", "footers") for path in (site.index / kind).rglob("*") if path.is_file()]:
        content = bytearray(path.read_bytes())
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content[: rng.choice([len(content), len(content) // 2])])
    data, recording = site.restore()
    assert data == DISK
    assert pages_and_footers(recording)
    site.back_up(disk)
    assert site.restore()[0] == disk


def test_what_was_kept_of_a_repository_before_it_was_rolled_back_is_not_used(site: Site) -> None:
    """The pages of the same bytes are the same then, and lie at the same places, but name other ones."""
    site.back_up(DISK)
    before = copy_of(site.memory)
    other, _ = changed_disk(DISK, 5, first=0, blocks=40)
    lost, _ = site.back_up(other)
    site.memory = before
    elsewhere = site.index.with_name("elsewhere")
    front, _ = changed_disk(other, 6, first=len(DISK) // 4096 - 40, blocks=30)
    repo, _ = site.open()
    assert back_up_image(repo, site.image, front, elsewhere).id == lost
    data, recording = site.restore()
    assert data == front
    assert pages_and_footers(recording)


def copy_of(memory: MemoryRepository) -> MemoryRepository:
    copy = MemoryRepository()
    for entry in memory.list(""):
        copy.put_new(entry.name, memory.get(entry.name))
    return copy


def test_a_claim_that_cannot_be_read_costs_the_caches_and_nothing_else(site: Site) -> None:
    site.back_up(DISK)
    site.memory.delete("sess/0000000001")
    assert site.restore()[0] == DISK


def test_a_disk_full_to_the_last_byte_costs_nothing_but_the_caches(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.back_up(DISK)
    shutil.rmtree(site.index / "pages")
    shutil.rmtree(site.index / "footers")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(Path, "write_bytes", full)
        data, recording = site.restore()
    assert data == DISK
    assert pages_and_footers(recording)


def test_what_verification_finds_damaged_is_read_from_the_repository_again(site: Site) -> None:
    from mediaagent.ddb.pool_index import forget_containers

    site.back_up(DISK)
    repo, _ = site.open()
    cids = {cid for entry in site.memory.list("c/") if (cid := cid_of_name(entry.name)) is not None}
    assert forget_containers(repo.pool, None, cids) is None
    assert not list((site.index / "pages").rglob("*"))
    _, recording = site.restore()
    assert pages_and_footers(recording)
