"""`ingot job`: what runs and how it ended; following jobs live."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ingot.cli.exits import Exit
from ingot.cli.service.asking import Door, asking, said, tell, text
from ingot.cli.service.job_page import lines_of, title_of
from ingot.quantities import size_text, time_text

jobs = typer.Typer(no_args_is_help=True, help="What runs, and how it ended.")

Job = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]
_ENDS = {"DONE", "DONE_WITH_WARNINGS", "FAILED", "CANCELLED"}
_GOOD = {"DONE", "DONE_WITH_WARNINGS"}
_LOOK_SECONDS = 0.5


@jobs.command("list")
@asking
def list_(
    door: Door,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Only these: RUNNING, FAILED, ...")] = None,
    most: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="At most so many.")] = 50,
) -> int:
    """List jobs, newest first."""
    query = {"state": state} if state else {}
    columns = [
        text("id"),
        text("kind"),
        ("FOR", lambda job: job["machine_name"] or "-"),
        text("state"),
        ("BEGAN (UTC)", lambda job: time_text(job["created_at"])),
        ("PROGRESS", progress_text),
        ("WHY", lambda job: job["fault"]["message"] if job["fault"] else ""),
    ]
    return tell(door, door.rest.get("/jobs", limit=most, **query)["items"], columns, "no jobs")


@jobs.command("show")
@asking
def show(
    door: Door,
    job: Job,
) -> int:
    """Show one job: state, attempts, progress, warnings, result or fault."""
    found = door.rest.get(f"/jobs/{job}")
    return door.screen.result(found, lines_of(found))


@jobs.command("watch")
@asking
def watch(
    door: Door,
    job: Job,
) -> int:
    """Follow a job until it ends; the exit code is 0 when it ended well."""
    return followed(door, [door.rest.get(f"/jobs/{job}")])


@jobs.command("cancel")
@asking
def cancel(
    door: Door,
    job: Job,
) -> int:
    """End a job. A backup leaves no recovery point; what it stored is found by the next one."""
    found = door.rest.post(f"/jobs/{job}/cancel")
    return said(door, found, f"{job}: {found['state']}")


@jobs.command("retry")
@asking
def retry(
    door: Door,
    job: Job,
) -> int:
    """Try a job that failed once more."""
    found = door.rest.post(f"/jobs/{job}/retry")
    return said(door, found, f"{found['id']}: {found['state']}")


def followed(door: Door, begun: Sequence[dict[str, Any]]) -> int:
    """Wait for jobs with a bar each where somebody looks, and say how they ended.

    Ctrl-C ends the waiting, not the jobs.
    """
    ended = _wait(door, [str(job["id"]) for job in begun])
    bad = [job for job in ended if job["state"] not in _GOOD]
    document = ended[0] if len(ended) == 1 else {"jobs": ended}
    lines = [line for job in ended for line in lines_of(job)] or ["nothing to do"]
    return door.screen.result(document, lines, Exit.FAULT if bad else Exit.GOOD)


def first_attempt(door: Door, job: dict[str, Any]) -> dict[str, Any]:
    """The job once it ended, or failed for the first time: it may be tried again much later."""
    [found] = _wait(door, [str(job["id"])], lambda job: job["state"] in _ENDS or job["fault"] is not None)
    return found


def _has_ended(job: dict[str, Any]) -> bool:
    return job["state"] in _ENDS


def _wait(door: Door, ids: list[str], over: Callable[[dict[str, Any]], bool] = _has_ended) -> list[dict[str, Any]]:
    ended: dict[str, dict[str, Any]] = {}
    pause = threading.Event()
    with door.screen.following() as bars:
        while len(ended) < len(ids):
            for key in ids:
                if key in ended:
                    continue
                job = door.rest.get(f"/jobs/{key}")
                progress = job["progress"]
                bars.show(key, title_of(job), progress["done_bytes"], progress["total_bytes"])
                if over(job):
                    ended[key] = job
            if len(ended) < len(ids):
                pause.wait(_LOOK_SECONDS)
    return [ended[key] for key in ids]


def progress_text(job: dict[str, Any]) -> str:
    """How far it is."""
    progress = job["progress"]
    if not progress["total_bytes"]:
        return "-"
    return f"{progress['phase']} {size_text(progress['done_bytes'])} of {size_text(progress['total_bytes'])}"
