"""`ingot restore`: a recovery point back to disk images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingot.cli import options
from ingot.cli.disks import DiskOption, chosen_disks
from ingot.cli.exits import Exit
from ingot.cli.loss import loss_documents, loss_lines
from ingot.cli.screen import screen_of
from ingot.cli.show import PointArgument
from ingot.quantities import rate_text, seconds_text, shown, size_text

if TYPE_CHECKING:
    from media.recovery_point import DiskTree, RecoveryPoint


def restore(
    context: typer.Context,
    point: PointArgument,
    repository: options.Repository,
    to: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            show_default=False,
            help="The image to write, or a block device. For several disks a directory: disk-0.raw, disk-1.raw, ...",
        ),
    ],
    disk: DiskOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at PATH. A block device needs it.")
    ] = False,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Write the disks of a recovery point to files or a block device.

    A file gets its name when all of it is there; after an interruption the same command goes on with it. What is lost
    in the repository reads as zero, is named, and the exit code is 3. No index is needed.

    Examples:

        ingot restore latest:web1 --to web1.raw --repository /backup/vms

        ingot restore 2a --disk 1 --to /dev/vg/db1-data --overwrite --repository /backup/vms
    """
    from ingot import embedded
    from ingot.cli.secret import open_named
    from media.recovery_point import list_points, read_point

    screen = screen_of(context, json)
    repo = open_named(repository, passphrase_file, key_file, screen)
    found = read_point(repo.pool, list_points(repo.pool).find(point))
    targets = _targets(found, disk, to, overwrite=overwrite)
    started = repo.clock.monotonic_seconds()
    with screen.progress() as progress:
        outcomes = [(d, embedded.restore(repo, d, path, progress, overwrite=overwrite)) for d, path in targets]
    seconds = repo.clock.monotonic_seconds() - started
    lost = {d.disk: outcome.lost for d, outcome in outcomes if outcome.lost}
    written = sum(outcome.bytes_written for _, outcome in outcomes)
    kept = sum(outcome.kept_bytes for _, outcome in outcomes)
    holes = sum(outcome.hole_bytes for _, outcome in outcomes)
    document = {
        "recovery_point": found.id,
        "machine": found.machine.name,
        "disks": [{"disk": d.disk, "size": d.size, "path": str(path.absolute())} for d, path in targets],
        "bytes_written": written,
        "bytes_kept": kept,
        "hole_bytes": holes,
        "seconds": seconds,
        "lost_extents": loss_documents(lost),
    }
    size = sum(d.size for d, _ in targets)
    lines = [
        f"restored {found.id} of {shown(found.machine.name)} to {to}",
        f"  disk     {size_text(size)}{f', {size_text(holes)} of it empty' if holes else ''}",
        f"  written  {size_text(written)} in {seconds_text(seconds)}, {rate_text(written, seconds)}",
    ]
    if kept:
        lines.append(f"  kept     {size_text(kept)} of an interrupted run")
    if lost:
        lost_bytes = sum(extent.length for _, outcome in outcomes for extent in outcome.lost_extents)
        lines += [*loss_lines(lost), f"  LOST     {size_text(lost_bytes)}; it reads as zero"]
    return screen.result(document, lines, Exit.PARTIAL if lost else Exit.GOOD)


def _targets(point: RecoveryPoint, number: int | None, to: Path, *, overwrite: bool) -> list[tuple[DiskTree, Path]]:
    """Which disk goes where; makes the directory for several. Raises DiskMissing, TargetExists, TargetUnwritable."""
    from media.faults import TargetExists, TargetUnwritable

    disks = chosen_disks(point, number)
    if number is not None or len(disks) == 1:
        return [(disks[0], to)]
    if os.path.lexists(to) and not (overwrite and to.is_dir()):
        ask = (
            "expected a directory to overwrite, found something else"
            if overwrite
            else "exists; --overwrite replaces it"
        )
        raise TargetExists(f"{to}: {ask}")
    try:
        to.mkdir(exist_ok=True)
    except OSError as error:
        raise TargetUnwritable(f"{to}: cannot be made: {error.strerror}") from error
    return [(disk, to / f"disk-{disk.disk}.raw") for disk in disks]
