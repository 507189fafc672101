"""`ingot doctor`: this build, this machine, this repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ingot.cli import options
from ingot.cli.exits import Exit
from ingot.cli.screen import Screen, screen_of
from ingot.cli.service.asking import Authority, CommServe, TokenFile, opened
from ingot.quantities import size_text

if TYPE_CHECKING:
    from ingot.diagnosis import Diagnosis


def doctor(
    context: typer.Context,
    repository: options.MaybeRepository = None,
    index: options.Index = None,
    commserve: CommServe = None,
    token_file: TokenFile = None,
    authority: Authority = None,
    json: options.Json = False,
) -> int:
    """Test this build and this machine, a repository as a place, and every hop to the services.

    Kernels and their self-test, versions; of a repository the file system, its contents and the index. Needs no
    secret. Exit code 1 when something should be done, which is said last.

    Example:

        ingot doctor --repository /backup/vms
    """
    from ingot.diagnosis import diagnose

    screen = screen_of(context, json)
    diagnosis = diagnose(repository, index)
    _try_hops(screen, diagnosis, commserve, token_file, authority)
    lines = []
    for subject, findings in diagnosis.findings.items():
        lines.append(subject)
        width = max(len(name) for name in findings)
        lines += [f"  {_words(name).ljust(width)}  {_value(name, value)}" for name, value in findings.items()]
    lines += [f"problem: {problem}" for problem in diagnosis.problems] or ["no problem found"]
    document = {**diagnosis.findings, "problems": diagnosis.problems}
    return screen.result(document, lines, Exit.FAULT if diagnosis.problems else Exit.GOOD)


def _try_hops(
    screen: Screen, diagnosis: Diagnosis, commserve: str | None, token_file: Path | None, authority: Path | None
) -> None:
    """Only where there is a CommServe: one that was named, or that `ingot up` left here."""
    from datetime import UTC, datetime

    from ingot.faults import CommServeAbsent
    from ingot.hops import try_hops

    try:
        with opened(screen, commserve, token_file, authority) as door:
            hops = list(try_hops(door.rest, datetime.now(UTC)))
    except CommServeAbsent:
        return
    diagnosis.findings["services"] = {hop.name: hop.problem or "open" for hop in hops}
    diagnosis.problems += [f"{hop.name}: {hop.problem}" for hop in hops if hop.problem is not None]


def _words(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_seconds").replace("_", " ")


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") or name == "bytes":
        return size_text(value)
    return f"{value * 1000:.2f} ms" if name.endswith("_seconds") else str(value)
