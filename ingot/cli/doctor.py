"""`ingot doctor`: this build, this machine, this repository."""

from __future__ import annotations

from typing import Any

import typer

from ingot.cli import options
from ingot.cli.exits import Exit
from ingot.cli.screen import screen_of
from ingot.quantities import size_text


def doctor(
    context: typer.Context,
    repository: options.MaybeRepository = None,
    index: options.Index = None,
    json: options.Json = False,
) -> int:
    """Test this build and this machine, and a repository as a place.

    Kernels and their self-test, versions; of a repository the file system, its contents and the index. Needs no
    secret. Exit code 1 when something should be done, which is said last.

    Example:

        ingot doctor --repository /backup/vms
    """
    from ingot.diagnosis import diagnose

    screen = screen_of(context, json)
    diagnosis = diagnose(repository, index)
    lines = []
    for subject, findings in diagnosis.findings.items():
        lines.append(subject)
        width = max(len(name) for name in findings)
        lines += [f"  {_words(name).ljust(width)}  {_value(name, value)}" for name, value in findings.items()]
    lines += [f"problem: {problem}" for problem in diagnosis.problems] or ["no problem found"]
    document = {**diagnosis.findings, "problems": diagnosis.problems}
    return screen.result(document, lines, Exit.FAULT if diagnosis.problems else Exit.GOOD)


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
