"""`ingot demo`: the whole way once, on a disk that is made or given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of


def demo(
    context: typer.Context,
    disk: Annotated[
        Path | None,
        typer.Argument(metavar="[DISK]", help="A disk image or block device to take; it is read, never written."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to work; must not exist. Without it: a temporary one.")
    ] = None,
    json: options.Json = False,
) -> int:
    """See all of it at work, in about two minutes.

    Starts the three services, protects a directory with a disk by a plan, waits for its scheduled backup, changes the
    disk, backs it up again, restores, compares, verifies, and recovers without any service.

    Examples:

        ingot demo

        ingot demo /images/web1.raw
    """
    from ingot.demo import run

    screen = screen_of(context, json)
    with screen.progress() as progress:
        told = run(disk, directory, progress)
    return screen.result(told.document, told.lines)
