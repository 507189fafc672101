"""The whole way once, for newcomers: back up, change, back up again, restore, compare, verify, recover.

Everything goes through the functions that the commands use. Raises DemoFailed when what comes back is not what went in.
`python -m ingot.demo` is `ingot demo`.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ingot import embedded
from ingot.demo_disk import change_disk, differing_extents, make_disk, same_bytes
from ingot.embedded import Progress, Repo
from ingot.faults import DemoFailed, UsageWrong
from ingot.quantities import rate_text, ratio_text, seconds_text, size_text, table
from ingot.sources import Images
from ingot.verification import verify_everything
from media.extents import total
from media.key_slots import KeyFile
from media.pool import Parameters, create_pool
from media.recovery_point import RecoveryPoint, list_points, read_point
from media.repository.locate import open_place
from runtime.clock import SystemClock
from vsa.disks.changed_extents import ChangedExtents

T = TypeVar("T")
MACHINE = "demo"


@dataclass
class Told:
    """What the demo has to say."""

    document: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One line of the table."""

    what: str
    seconds: float
    point: RecoveryPoint | None = None
    bytes: int = 0


def run(disk: Path | None, directory: Path | None, notes: list[str], progress: Progress) -> Told:
    """All of it. The repository, its key and the first image stay in the directory for the reader to play with."""
    work = _directory(directory)
    try:
        return _Demo(work, notes, progress).run(disk)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _directory(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="ingot-demo-"))
    try:
        directory.mkdir()
    except OSError as error:
        raise UsageWrong(
            f"--directory {directory}: expected a name to make a directory of: {error.strerror}"
        ) from error
    return directory.absolute()


class _Demo:
    """One run in one directory."""

    def __init__(self, work: Path, notes: list[str], progress: Progress) -> None:
        self._work = work
        self._notes = notes
        self._progress = progress
        self._steps: list[Step] = []
        self._repository = work / "repository"
        self._key = work / "demo.key"
        self._index = work / "index"

    def run(self, disk: Path | None) -> Told:
        first, today, tomorrow = (self._work / f"{name}.raw" for name in ("disk", "disk-day-1", "disk-day-2"))
        made = make_disk(disk, first)
        repo = self._init()
        monday = self._backup("first backup", repo, first)
        change_disk(first, today, seed=1)
        self._backup("a day later, read again", repo, today)
        change_disk(today, tomorrow, seed=2)
        changes = differing_extents(today, tomorrow)
        newest = list_points(repo.pool).commits[-1].id
        size = first.stat().st_size
        changed = {0: ChangedExtents(newest, 0, size, changes)}
        last = self._backup(f"a day later, only {size_text(total(changes))} told as changed", repo, tomorrow, changed)
        self._restore("restore of the first", repo, monday, first)
        self._restore("restore of the last", repo, last, tomorrow)
        self._verify(repo)
        self._recover(last, tomorrow)
        today.unlink()
        tomorrow.unlink()
        return self._told(made, size)

    def _init(self) -> Repo:
        self._key.touch(mode=0o600)
        self._key.write_text(KeyFile.generate())
        secret = KeyFile(self._key.read_text())
        create_pool(open_place(str(self._repository)), secret, Parameters(), SystemClock())
        repo = embedded.open_repo(str(self._repository), secret)
        repo.notes = self._notes
        return repo

    def _backup(
        self, what: str, repo: Repo, image: Path, changed: dict[int, ChangedExtents] | None = None
    ) -> RecoveryPoint:
        images = Images(MACHINE, [image], changed or {})
        report, seconds = _timed(lambda: embedded.back_up(repo, images, "auto", 1, self._index, self._progress))
        self._steps.append(Step(what, seconds, report.point))
        return report.point

    def _restore(self, what: str, repo: Repo, point: RecoveryPoint, original: Path) -> None:
        to = self._work / "restored.raw"
        tree = read_point(repo.pool, list_points(repo.pool).find(point.id)).disks[0]
        outcome, seconds = _timed(lambda: embedded.restore(repo, tree, to, self._progress, overwrite=False))
        if outcome.lost:
            raise DemoFailed(f"{what}: {outcome.lost[0].fault}")
        self._steps.append(Step(f"{what}, byte for byte", seconds, bytes=outcome.bytes_written))
        _compare(what, to, original)

    def _verify(self, repo: Repo) -> None:
        result, seconds = _timed(lambda: verify_everything(repo, list_points(repo.pool), self._index, self._progress))
        if not result.good:
            raise DemoFailed(f"verify: damage in {[point.id for point in result.points if not point.good]}")
        stored = sum(file.stat().st_size for file in (self._repository / "c").rglob("*") if file.is_file())
        self._steps.append(Step("verify, every byte stored", seconds, bytes=stored))

    def _recover(self, point: RecoveryPoint, original: Path) -> None:
        """As after a disaster: one script out of the repository, no part of this program."""
        program = self._repository / "RESTORE" / "recover.py"
        expected = json.loads((self._repository / "ingot.json").read_bytes())["recovery_program_sha256"]
        if hashlib.sha256(program.read_bytes()).hexdigest() != expected:
            raise DemoFailed(f"{program}: not the program that ingot.json names")
        to = self._work / "restored.raw"
        command: list[str | Path] = [sys.executable, "-I", program, "--repository", self._repository]
        done, seconds = _timed(
            lambda: subprocess.run(
                [*command, "--key-file", self._key, point.id, "--to", to], check=False, capture_output=True, text=True
            )
        )
        if done.returncode != 0:
            raise DemoFailed(f"RESTORE/recover.py: ended with {done.returncode}: {done.stderr.strip()}")
        self._steps.append(Step("RESTORE/recover.py, byte for byte", seconds, bytes=_data_bytes(point)))
        _compare("RESTORE/recover.py", to, original)

    def _told(self, made: str, size: int) -> Told:
        document = {
            "directory": str(self._work),
            "repository": str(self._repository),
            "key_file": str(self._key),
            "disk": made,
            "disk_bytes": size,
            "steps": [_step_document(step) for step in self._steps],
        }
        backups = [
            (
                step.what,
                size_text(step.point.statistics["read_bytes"]),
                size_text(step.point.statistics["new_bytes"]),
                size_text(step.point.statistics["stored_bytes"]),
                ratio_text(_data_bytes(step.point), step.point.statistics["new_bytes"]),
                ratio_text(step.point.statistics["new_bytes"], step.point.statistics["stored_bytes"]),
                seconds_text(step.seconds),
                rate_text(step.point.statistics["read_bytes"], step.seconds),
            )
            for step in self._steps
            if step.point is not None
        ]
        others = [
            (step.what, size_text(step.bytes), seconds_text(step.seconds), rate_text(step.bytes, step.seconds))
            for step in self._steps
            if step.point is None
        ]
        first = next(step.point for step in self._steps if step.point is not None)
        lies = sum(file.stat().st_size for file in self._repository.rglob("*") if file.is_file())
        header = ("BACKUP", "READ", "NEW", "STORED", "DEDUP", "COMPRESSION", "TIME", "SPEED")
        common = f"--repository {self._repository} --key-file {self._key}"
        lines = [
            f"disk: {made}",
            f"      {size_text(size)}, {size_text(_data_bytes(first))} of it data",
            "",
            *table(header, backups, frozenset(range(1, 8))),
            "",
            *table(("AND BACK", "BYTES", "TIME", "SPEED"), others, frozenset({1, 2, 3})),
            "",
            f"three recovery points of {size_text(size)} each lie encrypted in {size_text(lies)}:",
            f"  repository  {self._repository}",
            f"  key         {self._key}",
            f"  first disk  {self._work / 'disk.raw'}",
            "",
            "try next:",
            f"  {_program()} list {common}",
            f"  {_program()} restore latest --to restored.raw {common}",
            f"  rm -r {self._work}",
        ]
        return Told(document, lines)


def _program() -> str:
    """How the reader calls `ingot` from where he is."""
    beside = Path(sys.executable).with_name("ingot")
    if shutil.which("ingot") or not beside.exists():
        return "ingot"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def _step_document(step: Step) -> dict[str, Any]:
    statistics = (
        {"bytes": step.bytes} if step.point is None else {"recovery_point": step.point.id, **step.point.statistics}
    )
    return {"step": step.what, "seconds": step.seconds, **statistics}


def _data_bytes(point: RecoveryPoint) -> int:
    return int(point.statistics["disk_bytes"]) - int(point.statistics["hole_bytes"])


def _compare(what: str, to: Path, original: Path) -> None:
    if not same_bytes(to, original):
        raise DemoFailed(f"{what}: {to} is not, byte for byte, {original}")
    to.unlink()


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    sys.argv[1:1] = ["demo"]
    runpy.run_module("ingot", run_name="__main__", alter_sys=True)
