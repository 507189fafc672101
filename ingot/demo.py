"""The whole way once, for newcomers: three services, a directory of disk images, a plan, and the way back.

Everything goes through the REST interface that the commands use, and the last recovery through a program that needs no
service at all. Raises DemoFailed when what comes back is not what went in. `python -m ingot.demo` is `ingot demo`.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ingot.allinone import AllInOne, Ports
from ingot.demo_disk import change_disk, make_disk, same_bytes
from ingot.embedded import Progress
from ingot.faults import DemoFailed, UsageWrong
from ingot.quantities import rate_text, ratio_text, seconds_text, size_text, table
from ingot.rest import Connection, Rest, discovery
from runtime.clock import SystemClock

T = TypeVar("T")
MACHINE = "demo"
_LOOK_SECONDS = 0.2
_ENDS = ("DONE", "DONE_WITH_WARNINGS", "FAILED", "CANCELLED")


@dataclass
class Told:
    """What the demo has to say."""

    document: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One line of the tables; `backup` is what a backup's job says of itself."""

    what: str
    seconds: float
    bytes: int = 0
    backup: dict[str, Any] | None = None


def run(disk: Path | None, directory: Path | None, progress: Progress) -> Told:
    """All of it. What the services keep stays in the directory for the reader to play with."""
    work = _directory(directory)
    try:
        return _Demo(work, progress).run(disk)
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

    def __init__(self, work: Path, progress: Progress) -> None:
        self._work = work
        self._progress = progress
        self._state = work / "state"
        self._image = work / "images" / MACHINE / "disk-0.raw"
        self._steps: list[Step] = []

    def run(self, disk: Path | None) -> Told:
        self._image.parent.mkdir(parents=True)
        self._progress.begin("disk", 0)
        made = make_disk(disk, self._image)
        (self._image.parent / "machine.json").write_text(json.dumps({"id": MACHINE, "tags": ["gold"]}))
        with ExitStack() as stack:
            services = AllInOne(self._state, Ports.free(), SystemClock(), lambda _: None)
            stack.callback(services.stop)
            _, seconds = _timed(services.start)
            self._steps.append(Step("three services up, certificates, a repository", seconds))
            rest = stack.enter_context(Rest(Connection(services.url, services.token_file)))
            self._protect(rest)
            first = self._scheduled(rest)
            before = self._work / "day-0.raw"
            self._image.replace(before)
            change_disk(before, self._image, seed=1)
            last = self._asked(rest)
            self._restore(rest, "restore of the first", first, before)
            self._restore(rest, "restore of the last", last, self._image)
            self._verify(rest)
        self._recover(last)
        before.unlink()
        return self._told(made)

    def _protect(self, rest: Rest) -> None:
        """A hypervisor, a plan that is due every minute, a rule that gives it what is tagged gold."""
        agents = [agent["id"] for agent in rest.all("/agents", role="vsa")]
        settings = {"directory": str(self._work / "images")}
        hypervisor = rest.post(
            "/hypervisors", {"name": "lab", "kind": "images", "settings": settings, "agents": agents}
        )
        pool = next(iter(rest.all("/pools")))
        plan = rest.post(
            "/plans",
            {
                "name": "every minute",
                "pool_id": pool["id"],
                "schedule": {"cron": "* * * * *"},
                "retention": {"daily": 30},
            },
        )
        rest.post("/rules", {"name": "gold", "plan_id": plan["id"], "conditions": {"tags": ["gold"]}})
        job, seconds = _timed(lambda: self._ended(rest, discovery(rest, hypervisor["id"])))
        self._steps.append(Step(f"discovery of {job['result']['machines']} machine, matched by a rule", seconds))

    def _scheduled(self, rest: Rest) -> dict[str, Any]:
        """The backup that comes by itself within a minute; then the plan is for asking only."""

        def look() -> dict[str, Any] | None:
            return next(iter(rest.get("/jobs", kind="backup", limit=1)["items"]), None)

        self._progress.begin("waiting for the next full minute", 0)
        job = _until(look)
        plan = next(iter(rest.all("/plans")))
        kept = ("name", "pool_id", "retention", "limits", "hold", "level", "sla_minutes")
        rest.put(f"/plans/{plan['id']}", {**{name: plan[name] for name in kept}, "schedule": {"cron": ""}})
        return self._backup("scheduled backup", self._ended(rest, job))

    def _asked(self, rest: Rest) -> dict[str, Any]:
        return self._backup("a day later, asked for", self._ended(rest, rest.post(f"/machines/{MACHINE}/backup")))

    def _backup(self, what: str, job: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = job["result"]
        self._steps.append(Step(what, result["seconds"], backup=result))
        return result

    def _restore(self, rest: Rest, what: str, backup: dict[str, Any], original: Path) -> None:
        pool = next(iter(rest.all("/pools")))
        to = self._state / "restored" / backup["recovery_point"]
        body = {"pool_id": pool["id"], "point": backup["recovery_point"], "directory": str(to)}
        job = self._ended(rest, rest.post("/restores", body))
        result = job["result"]
        self._steps.append(Step(f"{what}, byte for byte", result["seconds"], result["bytes_written"]))
        _compare(what, to / "disk-0.raw", original)

    def _verify(self, rest: Rest) -> None:
        pool = next(iter(rest.all("/pools")))
        _, seconds = _timed(lambda: self._ended(rest, rest.post(f"/pools/{pool['id']}/verify")))
        self._steps.append(Step("verify, every byte stored", seconds, _stored_bytes(self._state / "repository")))

    def _recover(self, backup: dict[str, Any]) -> None:
        """As after a disaster: the services are down, and one script out of the repository is enough."""
        repository = self._state / "repository"
        program = repository / "RESTORE" / "recover.py"
        expected = json.loads((repository / "ingot.json").read_bytes())["recovery_program_sha256"]
        if hashlib.sha256(program.read_bytes()).hexdigest() != expected:
            raise DemoFailed(f"{program}: not the program that ingot.json names")
        to = self._work / "recovered.raw"
        command: list[str | Path] = [sys.executable, "-I", program, "--repository", repository, "--key-file", self._key]
        done, seconds = _timed(
            lambda: subprocess.run(
                [*command, backup["recovery_point"], "--to", to], check=False, capture_output=True, text=True
            )
        )
        if done.returncode != 0:
            raise DemoFailed(f"RESTORE/recover.py: ended with {done.returncode}: {done.stderr.strip()}")
        self._steps.append(Step("RESTORE/recover.py alone, byte for byte", seconds, _data_bytes(backup)))
        _compare("RESTORE/recover.py", to, self._image)

    @property
    def _key(self) -> Path:
        return next((self._state / "mediaagent").rglob("*.key"))

    def _ended(self, rest: Rest, job: dict[str, Any]) -> dict[str, Any]:
        """The job when it has ended well. Raises DemoFailed."""
        begun: set[str] = set()
        done = 0

        def look() -> dict[str, Any] | None:
            nonlocal done
            found: dict[str, Any] = rest.get(f"/jobs/{job['id']}")
            progress = found["progress"]
            if progress["phase"] and progress["phase"] not in begun:
                begun.add(progress["phase"])
                self._progress.begin(progress["phase"], progress["total_bytes"])
                done = 0
            self._progress.advance(progress["done_bytes"] - done)
            done = progress["done_bytes"]
            return found if found["state"] in _ENDS else None

        ended = _until(look)
        if ended["state"] != "DONE":
            why = ended["fault"]["message"] if ended["fault"] else "; ".join(ended["warnings"])
            raise DemoFailed(f"{ended['kind']} ended as {ended['state']}: {why}")
        return ended

    def _told(self, made: str) -> Told:
        size = self._image.stat().st_size
        document = {
            "directory": str(self._work),
            "state": str(self._state),
            "repository": str(self._state / "repository"),
            "key_file": str(self._key),
            "disk": made,
            "disk_bytes": size,
            "steps": [_step_document(step) for step in self._steps],
        }
        found = [(step, step.backup) for step in self._steps if step.backup is not None]
        backups = [
            (
                step.what,
                size_text(said["read_bytes"]),
                size_text(said["new_bytes"]),
                size_text(said["stored_bytes"]),
                ratio_text(_data_bytes(said), said["new_bytes"]),
                ratio_text(said["new_bytes"], said["stored_bytes"]),
                seconds_text(step.seconds),
                rate_text(said["read_bytes"], step.seconds),
            )
            for step, said in found
        ]
        others = [
            (
                step.what,
                size_text(step.bytes) if step.bytes else "",
                seconds_text(step.seconds),
                rate_text(step.bytes, step.seconds) if step.bytes else "",
            )
            for step in self._steps
            if step.backup is None
        ]
        header = ("BACKUP", "READ", "NEW", "STORED", "DEDUP", "COMPRESSION", "TIME", "SPEED")
        lies = size_text(_stored_bytes(self._state / "repository"))
        up = f"{_program()} up --state {self._state}"
        lines = [
            f"disk: {made}",
            f"      {size_text(size)}, {size_text(_data_bytes(found[0][1]))} of it data",
            "",
            *table(header, backups, frozenset(range(1, 8))),
            "",
            *table(("BESIDES", "BYTES", "TIME", "SPEED"), others, frozenset({1, 2, 3})),
            "",
            f"two recovery points of {size_text(size)} each lie encrypted in {lies}; everything is in {self._work}",
            "",
            "try next:",
            f"  {up}        the same services again; Ctrl-C ends them",
            f"  INGOT_STATE={self._state} {_program()} machine points {MACHINE}        in another terminal",
            f"  rm -r {self._work}",
        ]
        return Told(document, lines)


def _until(look: Callable[[], T | None]) -> T:
    """What `look` finds, once it finds something."""
    pause = threading.Event()
    while (found := look()) is None:
        pause.wait(_LOOK_SECONDS)
    return found


def _program() -> str:
    """How the reader calls `ingot` from where he is."""
    beside = Path(sys.executable).with_name("ingot")
    if shutil.which("ingot") or not beside.exists():
        return "ingot"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "step": step.what,
        "seconds": step.seconds,
        **({"bytes": step.bytes} if step.backup is None else step.backup),
    }


def _stored_bytes(repository: Path) -> int:
    return sum(file.stat().st_size for file in (repository / "c").rglob("*") if file.is_file())


def _data_bytes(backup: dict[str, Any]) -> int:
    return int(backup["disk_bytes"]) - int(backup["hole_bytes"])


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
