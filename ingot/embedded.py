"""The product without a service: a repository, an index on this machine, images as disks.

Nothing is printed here: what a person should know besides the result is collected in `notes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ingot.sources import Images, description, open_sources
from media.backup import Backup, Report
from media.container_reader import ContainerReader
from media.extents import Extent
from media.faults import DamageFault, ParentDamaged, ParentUnfit
from media.key_slots import Secret
from media.known_chunks import KnownChunks, MemoryKnownChunks
from media.local_log import LocalLog
from media.marks import MarkKind, read_marks
from media.pool import Pool, open_pool
from media.reader import DiskRestore, Outcome
from media.rebuild import CaughtUp, catch_up
from media.recovery_point import Commit, DiskTree, Machine, list_points
from media.repository.locate import open_place
from media.session import Process
from media.session_log import DiskName
from mediaagent.ddb.chunk_index import ChunkIndex, open_index
from mediaagent.ddb.directory import default_directory
from mediaagent.ddb.faults import DdbFault
from mediaagent.ddb.footer_cache import FooterCache
from mediaagent.ddb.history import Remembering, is_same
from mediaagent.ddb.opening import Limits, discard
from runtime.clock import Clock, SystemClock
from runtime.tasks import worker_count
from vsa.disks.continued import ContinuedFile
from vsa.disks.formats import Format
from vsa.disks.image_target import ImageTarget
from vsa.disks.nbd_target import NbdTarget
from vsa.disks.target import Target, is_device, open_target
from vsa.nbd.url import NbdUrl

MISSES_MAX_CHUNKS = 200_000  # 60 MB: what a backup without an index remembers of what it stored itself


class Progress(Protocol):
    """What long work tells: a phase begins with so many units in all, and some of them are done."""

    def begin(self, phase: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...


@dataclass
class Repo:
    """An open repository, and what to tell the person who opened it."""

    pool: Pool
    containers: ContainerReader
    notes: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=SystemClock)


def open_repo(url: str, secret: Secret) -> Repo:
    """Open the repository at `url`. Raises what `open_pool` does."""
    pool = open_pool(open_place(url), secret)
    return Repo(pool, ContainerReader(pool))


@contextmanager
def index_of(repo: Repo, directory: Path | None, progress: Progress) -> Iterator[KnownChunks]:
    """The index of a repository, brought up to date; what is recorded in it is durable when the context ends.

    An index that cannot be used costs space, never a backup: misses are answered then, and a note says why.
    """
    try:
        place = directory or default_directory(repo.pool.id.bytes)
        index = _open_same(repo, place)
    except DdbFault as fault:
        repo.notes.append(f"the index cannot be used, so data that other machines stored is stored again: {fault}")
        yield MemoryKnownChunks(MISSES_MAX_CHUNKS)
        return
    repo.notes += index.notes
    with index:
        known = Remembering(index, place, repo.pool.repository)
        _catch_up(repo, known, place, progress)
        yield known
    if known.failure is not None:
        repo.notes.append(f"the index did not learn everything, so some data may be stored twice: {known.failure}")
    if index.fault is not None:
        repo.notes.append(f"the index failed on the way, so some data may be stored twice: {index.fault}")


def _open_same(repo: Repo, place: Path) -> ChunkIndex:
    """The index at `place`, begun anew when the repository was rolled back since it was used. Raises DdbFault."""
    index = open_index(place, repo.pool.id.bytes)
    try:
        if is_same(place, repo.pool.repository, index.containers()):
            return index
    except BaseException:
        index.close()
        raise
    index.close()
    repo.notes.append("the index here is not of what lies in the repository now, as after a roll-back; it is made anew")
    discard(place, Limits())
    return open_index(place, repo.pool.id.bytes)


def _catch_up(repo: Repo, known: KnownChunks, place: Path, progress: Progress) -> CaughtUp:
    footers = FooterCache(place, repo.pool.id.bytes)
    repo.containers = ContainerReader(repo.pool, footers)
    learned = catch_up(
        repo.pool, repo.containers, known, lambda count: progress.begin("index", count), progress.advance
    )
    if learned.gone:
        repo.notes.append(
            f"{len(learned.gone)} containers that the index knows are gone; their chunks are stored again"
        )
        footers.forget(learned.gone)  # or they would confirm what is there no more
    repo.notes += [f"left out of the index: {fault}" for fault in learned.damaged.values()]
    return learned


@dataclass(frozen=True)
class Rebuilt:
    """An index made anew, and where it lies."""

    directory: Path
    learned: CaughtUp


def rebuild_index(repo: Repo, directory: Path | None, progress: Progress) -> Rebuilt:
    """Drop the index of a repository on this machine and make it again from the containers' footers.

    Raises DdbFault, DdbForeign included: what is not this repository's index is not removed.
    """
    place = directory or default_directory(repo.pool.id.bytes)
    open_index(place, repo.pool.id.bytes).close()  # is it ours
    discard(place, Limits())
    with open_index(place, repo.pool.id.bytes) as index:
        learned = _catch_up(repo, Remembering(index, place, repo.pool.repository), place, progress)
    if index.fault is not None:
        raise index.fault
    return Rebuilt(place, learned)


def forget_containers(repo: Repo, directory: Path | None, cids: set[int]) -> None:
    """Have the index on this machine answer with these containers no more, so that the next backup stores their
    chunks again.
    """
    try:
        place = directory or default_directory(repo.pool.id.bytes)
        if not cids or not (place / "ddb.json").exists():
            return
        with open_index(place, repo.pool.id.bytes) as index:
            index.forget(cids)
        FooterCache(place, repo.pool.id.bytes).forget(cids)
    except DdbFault as fault:
        repo.notes.append(f"the index still knows damaged containers; `ingot rebuild` after removing them: {fault}")


def back_up(
    repo: Repo, images: Images, parent: str, level: int, index: Path | None, progress: Progress, workers: int = 0
) -> Report:
    """One backup. `parent` is a recovery point, `auto` (the newest good one of this machine) or `none`.

    Raises what `media.backup.Backup.run` does, and the faults of the images.
    """
    with ExitStack() as stack:
        chosen = _parent(repo, images.machine, parent)
        sources = open_sources(stack, images, repo.pool, chosen, repo.clock, repo.notes)
        known = stack.enter_context(index_of(repo, index, progress))
        machine = Machine(images.machine, images.machine)
        names = [DiskName(source.key, source.disk.size) for source in sources]

        def run(parent_point: Commit | None) -> Report:
            progress.begin("backup", sum(source.disk.size for source in sources))
            log = LocalLog.begin(
                repo.pool, known, repo.containers, repo.clock, Process.this(), machine, names, parent_point
            )
            backup = Backup(log, sources, repo.clock, level, workers or worker_count(), progress.advance)
            return backup.run(description(images))

        try:
            return run(chosen)
        except ParentDamaged as fault:
            # The images hold everything, so a damaged parent costs reading them whole and nothing else.
            repo.notes.append(f"backed up without a parent, because it is damaged: {fault}")
            return run(None)


def _parent(repo: Repo, machine: str, parent: str) -> Commit | None:
    if parent == "none":
        return None
    points = list_points(repo.pool)
    chosen = points.newest_of(machine) if parent == "auto" else points.find(parent)
    if chosen is None:
        return None
    if chosen.machine.id != machine:
        raise ParentUnfit(
            f"--parent {parent}: expected a recovery point of {machine}, found one of {chosen.machine.name}"
        )
    if is_suspect(repo, chosen):
        # Older points share its data, so they may be hit as well; reading everything costs nothing but time.
        repo.notes.append(f"backed up without a parent, because {chosen.id} is marked suspect")
        return None
    return chosen


def is_suspect(repo: Repo, commit: Commit) -> bool:
    """Whether the last verification found damage. Marks that cannot be read say that it did."""
    try:
        marks = read_marks(repo.pool, commit.sid)
    except DamageFault:
        return True
    verdicts = [mark.kind for mark in marks if mark.kind in (MarkKind.SUSPECT, MarkKind.VERIFIED)]
    return verdicts[-1:] == [MarkKind.SUSPECT]


def restore(
    repo: Repo,
    disk: DiskTree,
    to: Path | NbdUrl,
    progress: Progress,
    *,
    overwrite: bool,
    format: Format = Format.RAW,
    workers: int = 0,
) -> Outcome:
    """Write one disk of a recovery point to a file, block device or NBD export; what was lost is in the outcome.

    A raw file goes on from what an interrupted run of the same restore left beside it. Raises Target faults, NbdFault,
    QemuMissing.
    """
    if isinstance(to, NbdUrl):
        with NbdTarget(to, disk.size, repo.clock, overwrite=overwrite) as export:
            return _restore(repo, disk, export, [], progress, workers)
    if format is not Format.RAW:
        with ImageTarget(to, disk.size, format, repo.clock, overwrite=overwrite) as image:
            return _restore(repo, disk, image, [], progress, workers)
    if is_device(to):
        with open_target(to, disk.size, overwrite=overwrite) as device:
            return _restore(repo, disk, device, [], progress, workers)
    file = ContinuedFile(to, disk.size, _identity(repo, disk), overwrite=overwrite)
    repo.notes += [f"left by an interrupted restore of something else: {other}" for other in file.others()]
    try:
        with file:
            return _restore(repo, disk, file, file.done, progress, workers)
    finally:
        if file.kept is not None:
            repo.notes.append(f"what was restored is kept: the same restore goes on from it, or remove {file.kept}")


def _restore(
    repo: Repo,
    disk: DiskTree,
    target: Target | ImageTarget | NbdTarget,
    done: list[Extent],
    progress: Progress,
    workers: int,
) -> Outcome:
    progress.begin("restore", disk.size)
    advance, workers = progress.advance, workers or worker_count()
    outcome = DiskRestore(repo.pool, repo.containers, disk, target, workers, advance, done=done).run()
    target.finish()
    return outcome


def _identity(repo: Repo, disk: DiskTree) -> str:
    """Names the bytes of a disk: a root page's fingerprint covers all that is below it."""
    root = b"" if disk.root.ref is None else disk.root.ref.fingerprint
    named = repo.pool.id.bytes + disk.disk.to_bytes(4, "little") + disk.size.to_bytes(8, "little") + root
    return hashlib.sha256(named).hexdigest()[:16]
