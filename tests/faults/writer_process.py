"""Writers as processes of their own, forked from one that has imported everything, so that hundreds are cheap."""

from __future__ import annotations

import json
import multiprocessing
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

from ingot.embedded import back_up
from ingot.sources import Images
from media.faults import RepositoryExists
from media.pool import Parameters, create_pool
from media.repository.local import LocalRepository
from runtime.clock import SystemClock
from tests.faults.deaths import Death, KillingPosix, KillingRepository
from tests.faults.scenario import Quiet, open_repo_at, secret_of
from tests.faults.unsynced_posix import unsynced
from vsa.disks.changed_extents import ChangedExtents

LOST = 17
"""The exit code of an `init` that found another one first."""


class Job(NamedTuple):
    """One backup: where from, where to, and where the process dies: `at` a call (0: never) of the `layer`."""

    root: Path
    index: Path
    image: Path
    parameters: Parameters
    machine: str = "web"
    parent: str = "auto"
    changed: ChangedExtents | None = None
    layer: str = "posix"
    at: int = 0
    after: bool = False
    workers: int = 1


def run_backup(job: Job, barrier: Barrier | None = None) -> None:
    """In the child. What it tells goes to a file beside the image; faults end it with a traceback and exit code 1."""
    death = Death(job.at, after=job.after)
    if job.layer == "posix":
        repo = open_repo_at(LocalRepository(job.root, KillingPosix(death)), job.parameters, SystemClock())
    else:
        repo = open_repo_at(KillingRepository(unsynced(job.root), death), job.parameters, SystemClock())
    if barrier is not None:
        barrier.wait()
    changed = {} if job.changed is None else {0: job.changed}
    images = Images(job.machine, [job.image], changed)
    point = back_up(repo, images, job.parent, level=1, index=job.index, progress=Quiet(), workers=job.workers).point
    told = {"notes": repo.notes, "point": point.id, "statistics": point.statistics}
    job.image.with_suffix(".told").write_text(json.dumps(told))


def run_init(root: Path, parameters: Parameters, at: int, after: bool, barrier: Barrier | None = None) -> None:
    """In the child. Exits with LOST when it found a repository, or another `init` was first."""
    place = LocalRepository(root, KillingPosix(Death(at, after=after)))
    if barrier is not None:
        barrier.wait()
    try:
        create_pool(place, secret_of(parameters), parameters, SystemClock())
    except RepositoryExists:
        raise SystemExit(LOST) from None


def context() -> ForkServerContext:
    """Processes that start in a few milliseconds and share nothing with this one."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.faults.writer_process"])
    return found


def ended(process: ForkServerProcess) -> int:
    """Wait for it; its exit code, negative for a signal."""
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode
