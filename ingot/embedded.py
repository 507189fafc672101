"""The product without a service: a repository, an index on this machine, images as disks.

Nothing is printed here: what a person should know besides the result is collected in `notes`.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ingot.sources import Images, description, open_sources
from media.backup import Backup, Report
from media.container_reader import ContainerReader
from media.extents import Extent
from media.faults import ParentDamaged
from media.key_slots import Secret
from media.local_log import LocalLog
from media.parents import choose_parent
from media.pool import Pool, open_pool
from media.reader import DiskRestore, Outcome
from media.recovery_point import Commit, DiskTree, Machine, RecoveryPoint
from media.repository.counted import Counts
from media.repository.locate import open_place
from media.session import Process
from media.session_log import DiskName
from mediaagent.ddb.pool_index import (
    Rebuilt,
    Told,
    pool_index,
    reader_beside_index,
    rebuild_pool_index,
)
from runtime.clock import Clock, SystemClock
from runtime.tasks import worker_count
from vsa.disks.continued import ContinuedFile
from vsa.disks.formats import Format
from vsa.disks.image_target import ImageTarget
from vsa.disks.nbd_target import NbdTarget
from vsa.disks.target import Target, is_device, open_target
from vsa.nbd.url import NbdUrl


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
    counts: Counts = field(default_factory=Counts)


def open_repo(url: str, secret: Secret) -> Repo:
    """Open the repository at `url`. Raises what `open_pool` does."""
    counts = Counts()
    pool = open_pool(open_place(url, counts), secret)
    return Repo(pool, ContainerReader(pool), counts=counts)


def read_beside_index(repo: Repo, point: RecoveryPoint) -> None:
    """Read this point with what is kept beside the index on this machine, if there is one."""
    repo.containers = reader_beside_index(repo.pool, point.sid)


def _told(progress: Progress) -> Told:
    return Told(lambda count: progress.begin("index", count), progress.advance)


def rebuild_index(repo: Repo, directory: Path | None, progress: Progress) -> Rebuilt:
    """Drop the index of a repository on this machine and make it again. Raises DdbFault."""
    return rebuild_pool_index(repo.pool, directory, _told(progress), repo.notes)


def back_up(
    repo: Repo, images: Images, parent: str, level: int, index: Path | None, progress: Progress, workers: int = 0
) -> Report:
    """One backup. `parent` is a recovery point, `auto` (the newest good one of this machine) or `none`.

    Raises what `media.backup.Backup.run` does, and the faults of the images.
    """
    with ExitStack() as stack:
        chosen, notes = choose_parent(repo.pool, images.machine, parent)
        repo.notes += notes
        sources = open_sources(stack, images, repo.pool, chosen, repo.clock, repo.notes)
        beside = stack.enter_context(pool_index(repo.pool, index, _told(progress), repo.notes))
        repo.containers = beside.containers
        machine = Machine(images.machine, images.machine)
        names = [DiskName(source.key, source.disk.size) for source in sources]

        def run(parent_point: Commit | None) -> Report:
            progress.begin("backup", sum(source.disk.size for source in sources))
            log = LocalLog.begin(
                repo.pool,
                beside.known,
                beside.containers,
                repo.clock,
                Process.this(),
                machine,
                names,
                parent_point,
                there=beside.there,
            )
            backup = Backup(log, sources, repo.clock, level, workers or worker_count(), progress.advance)
            return backup.run(description(images))

        try:
            return run(chosen)
        except ParentDamaged as fault:
            # The images hold everything, so a damaged parent costs reading them whole and nothing else.
            repo.notes.append(f"backed up without a parent, because it is damaged: {fault}")
            return run(None)


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
