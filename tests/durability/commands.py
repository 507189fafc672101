"""The commands whose calls are troubled: what they do, what should be there then, and a place to do it in."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ingot.embedded import Repo, rebuild_index, restore
from ingot.verification import verify_points
from media.backup import Backup, Source
from media.faults import DiskUnreadable, RepositoryMissing
from media.key_slots import KeyFile, list_slots
from media.known_chunks import MemoryKnownChunks
from media.marks import read_marks
from media.pool import add_slot, remove_slot
from media.recovery_point import list_points, read_point
from media.repository import Repository
from tests.durability.troubles import Call
from tests.faults.scenario import (
    MACHINE,
    SEALED,
    Quiet,
    back_up_image,
    changed_disk,
    first_disk,
    make_repo,
    open_repo_at,
)
from tests.media.fakes import FakeClock, SparseDisk
from tests.media.workbench import begin, seeded

DISK = first_disk(2)
CHANGED, _ = changed_disk(DISK, 2, first=20, blocks=3)
OTHER_KEY = KeyFile("a5" * 32)


class TickingClock(FakeClock):
    """Some minutes pass between two looks, so that heartbeats are due."""

    def monotonic_seconds(self) -> float:
        self.seconds += 100.0
        return self.seconds


@dataclass
class Site:
    """Where one command runs: a directory with the repository, and what this machine keeps beside it."""

    directory: Path
    clock: FakeClock = field(default_factory=FakeClock)

    @property
    def root(self) -> Path:
        return self.directory / "repository"

    def copy(self, to: Path) -> Site:
        shutil.copytree(self.directory, to)
        return Site(to).with_new_clock()

    def with_new_clock(self) -> Site:
        return replace(self, clock=TickingClock())

    def back_up(self, repo: Repo, disk: bytes, parent: str = "auto") -> int:
        return back_up_image(repo, self.directory / "disk.raw", disk, self.directory / "index", parent=parent).sid

    def open(self, place: Repository) -> Repo:
        return open_repo_at(place, SEALED, self.clock)


class Command(ABC):
    """One command. `only` these of its calls are in the table; None: all."""

    name: str
    says: str
    only: tuple[Call, ...] | None = None
    has_session = False
    begins_empty = False
    succeeds = True

    def prepare(self, site: Site, place: Repository) -> None:
        """What is there before."""
        with seeded(1):  # the keys decide where chunks are cut, and so which calls are made
            repo = make_repo(place, SEALED, site.clock)
        site.back_up(repo, DISK)

    @abstractmethod
    def run(self, site: Site, place: Repository) -> None:
        """Raises what the user sees."""

    @abstractmethod
    def is_there(self, site: Site, place: Repository) -> bool:
        """Whether its effect is there, for whoever comes later."""


class Init(Command):
    name, begins_empty = "init", True
    says = "*There* means: a repository that opens."

    def prepare(self, site: Site, place: Repository) -> None:
        """Nothing."""

    def run(self, site: Site, place: Repository) -> None:
        make_repo(place, SEALED, site.clock)

    def is_there(self, site: Site, place: Repository) -> bool:
        try:
            site.open(place)
        except RepositoryMissing:
            return False
        return True


class BackUp(Command):
    name, has_session = "backup", True
    says = "A second backup, after some of the disk changed. *There* means: the recovery point."

    def run(self, site: Site, place: Repository) -> None:
        site.back_up(site.open(place), CHANGED)

    def is_there(self, site: Site, place: Repository) -> bool:
        return len(list_points(site.open(place).pool).commits) > 1


class BackUpOfBadDisk(Command):
    """The tombstone: a backup that fails for reasons of its own says that it is over."""

    name, has_session, succeeds = "backup of a disk that cannot be read", True, False
    says = (
        "It fails with `disk_unreadable`, *ok* in the table, and says that its session is over. "
        "*Not there*, always, means: a recovery point."
    )
    only = (Call("put", "rp/"),)

    def run(self, site: Site, place: Repository) -> None:
        repo = site.open(place)
        disk = SparseDisk.of(CHANGED)
        disk.fails_at = len(CHANGED) - 1
        sources = [Source("0", disk)]
        log = begin(repo.pool, MemoryKnownChunks(), repo.containers, repo.clock, MACHINE, sources, None)
        with suppress(DiskUnreadable):
            Backup(log, sources, repo.clock, 1, 1, lambda _: None).run({})

    def is_there(self, site: Site, place: Repository) -> bool:
        return len(list_points(site.open(place).pool).commits) > 1


class Restore(Command):
    name = "restore"
    says = "*There* means: the file at `--to`, whole. A file that is not whole never has that name."

    def run(self, site: Site, place: Repository) -> None:
        repo = site.open(place)
        point = read_point(repo.pool, list_points(repo.pool).find("latest"))
        (site.directory / "restored.raw").unlink(missing_ok=True)
        restore(repo, point.disks[0], site.directory / "restored.raw", Quiet(), overwrite=False, workers=1)

    def is_there(self, site: Site, place: Repository) -> bool:
        restored = site.directory / "restored.raw"
        return restored.exists() and restored.read_bytes() == DISK


class Verify(Command):
    name = "verify"
    says = "*There* means: the mark on the recovery point, which is all that a verification leaves."

    def run(self, site: Site, place: Repository) -> None:
        repo = site.open(place)
        verify_points(repo, list_points(repo.pool).commits, site.directory / "index", Quiet())

    def is_there(self, site: Site, place: Repository) -> bool:
        return bool(read_marks(site.open(place).pool, 1))


class Rebuild(Command):
    name = "rebuild"
    says = "*There* means: the new index. One that is not complete costs space, and catches up with the next backup."

    def run(self, site: Site, place: Repository) -> None:
        rebuild_index(site.open(place), site.directory / "index", Quiet())
        (site.directory / "rebuilt").touch()

    def is_there(self, site: Site, place: Repository) -> bool:
        return (site.directory / "rebuilt").exists()


class AddKey(Command):
    name = "key add"
    says = "*There* means: the new key slot."

    def run(self, site: Site, place: Repository) -> None:
        add_slot(site.open(place).pool, OTHER_KEY, site.clock)

    def is_there(self, site: Site, place: Repository) -> bool:
        return len(list_slots(place)) > 1


class RemoveKey(Command):
    name = "key remove"
    says = "*There* means: the slot is gone."

    def prepare(self, site: Site, place: Repository) -> None:
        super().prepare(site, place)
        pool = site.open(place).pool
        with seeded(2):  # slots are looked at in order of name, until one opens
            (site.directory / "slot").write_text(add_slot(pool, OTHER_KEY, site.clock))

    def run(self, site: Site, place: Repository) -> None:
        remove_slot(site.open(place).pool, (site.directory / "slot").read_text())

    def is_there(self, site: Site, place: Repository) -> bool:
        return len(list_slots(place)) == 1


COMMANDS: list[Command] = [
    Init(),
    BackUp(),
    BackUpOfBadDisk(),
    Restore(),
    Verify(),
    Rebuild(),
    AddKey(),
    RemoveKey(),
]
