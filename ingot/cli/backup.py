"""`ingot backup`: disk images in, a recovery point out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of
from ingot.quantities import count_text, rate_text, ratio_text, seconds_text, shown, size_text

if TYPE_CHECKING:
    from media.recovery_point import RecoveryPoint
    from vsa.disks.changed_extents import ChangedExtents


def backup(
    context: typer.Context,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Raw disk images or block devices: disks 0, 1, ... of one machine."),
    ],
    repository: options.Repository,
    machine: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose disks they are. Without it: the first image's name.")
    ] = None,
    parent: Annotated[
        str,
        typer.Option(
            metavar="RP|auto|none",
            help="The recovery point to compare with: `auto` is the machine's newest, `none` compares with nothing.",
        ),
    ] = "auto",
    changed_extents: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON that names what changed since the parent; only that is read. Described in docs/cli.md.",
        ),
    ] = None,
    level: Annotated[int, typer.Option(min=1, max=19, metavar="N", help="Level of zstd compression, 1 to 19.")] = 1,
    index: options.Index = None,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Back up the disks of one machine; only what is new is stored.

    The images must not change while they are read. Nothing is visible before everything is durable; an interrupted
    backup leaves no recovery point, and the next one goes on from what it stored.

    Examples:

        ingot backup web1.raw --repository /backup/vms

        ingot backup /dev/vg/db1-root /dev/vg/db1-data --machine db1 --repository /backup/vms
    """
    from ingot.cli.secret import open_named
    from ingot.embedded import Images, back_up

    screen = screen_of(context, json)
    name = _machine(machine, images)
    changed = _changed(changed_extents)
    repo = open_named(repository, passphrase_file, key_file, screen)
    started = repo.clock.monotonic_seconds()
    with screen.progress() as progress:
        report = back_up(repo, Images(name, images, changed), parent, level, index, progress)
    seconds = repo.clock.monotonic_seconds() - started
    document = {**backup_document(report.point), "seconds": seconds, "phases": report.phases}
    return screen.result(document, backup_lines(report.point, seconds, repo.pool.repository.url))


def _machine(machine: str | None, images: list[Path]) -> str:
    from ingot.faults import UsageWrong

    name = images[0].absolute().stem if machine is None else machine
    if not name.strip() or not name.isprintable():
        raise UsageWrong(f"--machine: expected a name of printable characters, found {name!r}")
    return name


def _changed(path: Path | None) -> dict[int, ChangedExtents]:
    from vsa.disks.changed_extents import read_changed_extents

    return {} if path is None else {changed.disk: changed for changed in read_changed_extents(path)}


def backup_document(point: RecoveryPoint) -> dict[str, Any]:
    """What `--json` says of a new point, but for the times."""
    from media.ids import sid_text

    return {
        "recovery_point": point.id,
        "machine": point.machine.name,
        "parent": None if point.parent is None else sid_text(point.parent),
        "time": point.time,
        **point.statistics,
    }


def backup_lines(point: RecoveryPoint, seconds: float, url: str) -> list[str]:
    """The same for people."""
    from media.ids import sid_text

    found = point.statistics
    data_bytes = found["disk_bytes"] - found["hole_bytes"]
    parent = "none" if point.parent is None else sid_text(point.parent)
    holes = f", {size_text(found['hole_bytes'])} of it empty" if found["hole_bytes"] else ""
    read = f"{size_text(found['read_bytes'])} in {seconds_text(seconds)}, {rate_text(found['read_bytes'], seconds)}"
    new = f"{size_text(found['new_bytes'])} in {count_text(found['new_chunks'], 'chunk')}"
    stored = f"{size_text(found['stored_bytes'])}, compression {ratio_text(found['new_bytes'], found['stored_bytes'])}"
    return [
        f"recovery point {point.id} of {shown(point.machine.name)}, parent {parent}",
        f"  disk     {size_text(found['disk_bytes'])} in {count_text(len(point.disks), 'disk')}{holes}",
        f"  read     {read}",
        f"  new      {new}, dedup {ratio_text(data_bytes, found['new_bytes'])}",
        f"  stored   {stored}",
        f"  lies at  {url}",
    ]
