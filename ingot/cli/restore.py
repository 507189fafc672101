"""`ingot restore`: a recovery point back to disk images."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingot.cli import options
from ingot.cli.disks import DiskOption, chosen_disks
from ingot.cli.exits import Exit
from ingot.cli.loss import loss_documents, loss_lines
from ingot.cli.screen import screen_of
from ingot.cli.show import PointArgument
from ingot.cli.traffic import traffic_document, traffic_lines
from ingot.quantities import rate_text, seconds_text, shown, size_text

if TYPE_CHECKING:
    from ingot.embedded import Progress, Repo
    from media.reader import Outcome
    from media.recovery_point import DiskTree, RecoveryPoint
    from vsa.disks.formats import Format
    from vsa.nbd.url import NbdUrl


def restore(
    context: typer.Context,
    point: PointArgument,
    repository: options.Repository,
    to: Annotated[
        str,
        typer.Option(
            metavar="PATH|URL|-",
            show_default=False,
            help="The image to write, a block device, the URL of an NBD export, or - for standard output. "
            "For several disks a directory: disk-0.raw, disk-1.raw, ...",
        ),
    ],
    disk: DiskOption = None,
    format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="raw, qcow2, vmdk, vhd, vhdx or vdi. Without it: as PATH ends, else raw."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at PATH. A block device and an NBD export need it.")
    ] = False,
    limit_rate: options.LimitRate = None,
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

        ingot restore latest:web1 --to web1.qcow2 --repository /backup/vms

        ingot restore latest:web1 --to - --repository /backup/vms | zstd > web1.raw.zst
    """
    from ingot.cli.secret import open_named
    from ingot.embedded import read_beside_index
    from ingot.faults import UsageWrong
    from media.recovery_point import list_points, read_point

    screen = screen_of(context, json)
    place = _place(to, format, as_json=json)
    repo = open_named(repository, passphrase_file, key_file, screen, limit_rate)
    found = read_point(repo.pool, list_points(repo.pool).find(point))
    read_beside_index(repo, found)
    if place.one and disk is None and len(found.disks) > 1:
        raise UsageWrong(f"--to {to}: expected --disk, as {found.id} has {len(found.disks)} disks")
    targets = _targets(found, disk, place, overwrite=overwrite)
    started = repo.clock.monotonic_seconds()
    with screen.progress() as progress:
        outcomes = [(d, _restore(repo, d, where, place, progress, overwrite=overwrite)) for d, where in targets]
    seconds = repo.clock.monotonic_seconds() - started
    lost = {d.disk: outcome.lost for d, outcome in outcomes if outcome.lost}
    written = sum(outcome.bytes_written for _, outcome in outcomes)
    kept = sum(outcome.kept_bytes for _, outcome in outcomes)
    holes = sum(outcome.hole_bytes for _, outcome in outcomes)
    document = {
        "recovery_point": found.id,
        "machine": found.machine.name,
        "disks": [{"disk": d.disk, "size": d.size, "path": _shown(where)} for d, where in targets],
        "bytes_written": written,
        "bytes_kept": kept,
        "hole_bytes": holes,
        "seconds": seconds,
        "lost_extents": loss_documents(lost),
        "traffic": traffic_document(repo),
    }
    size = sum(d.size for d, _ in targets)
    lines = [
        f"restored {found.id} of {shown(found.machine.name)} to {to}",
        f"  disk     {size_text(size)}{f', {size_text(holes)} of it empty' if holes else ''}",
        f"  written  {size_text(written)} in {seconds_text(seconds)}, {rate_text(written, seconds)}",
        *traffic_lines(repo),
    ]
    if kept:
        lines.append(f"  kept     {size_text(kept)} of an interrupted run")
    if lost:
        lost_bytes = sum(extent.length for _, outcome in outcomes for extent in outcome.lost_extents)
        lines += [*loss_lines(lost), f"  LOST     {size_text(lost_bytes)}; it reads as zero"]
    return screen.result(document, lines, Exit.PARTIAL if lost else Exit.GOOD, stdout_taken=place.stdout)


@dataclass(frozen=True)
class _Place:
    """What --to and --format say."""

    where: Path | NbdUrl
    format: Format | None
    stdout: bool

    @property
    def one(self) -> bool:
        """Whether only one disk can go there."""
        return self.stdout or not isinstance(self.where, Path)

    def format_of(self, path: Path) -> Format:
        from vsa.disks.formats import Format, format_of_name

        return self.format or format_of_name(path) or Format.RAW


def _place(to: str, format: str | None, *, as_json: bool) -> _Place:
    from ingot.faults import UsageWrong
    from vsa.disks.formats import Format
    from vsa.nbd.url import is_nbd_url, parse_nbd_url

    scheme, separated, _ = to.partition("://")
    if separated and scheme.isalnum() and not is_nbd_url(to):
        raise UsageWrong(f"--to {to}: expected a path, the URL of an NBD export or -, found a URL of kind {scheme}:")
    chosen = options.image_format(format)
    place = _Place(parse_nbd_url(to) if is_nbd_url(to) else Path(to), chosen, to == "-")
    if place.one and chosen not in (None, Format.RAW):
        raise UsageWrong(f"--to {to}: expected no --format, found {format}: what goes there is raw")
    if place.stdout and as_json:
        raise UsageWrong("--to -: expected no --json, as standard output is the disk's")
    if place.stdout and sys.stdout.isatty():
        raise UsageWrong("--to -: expected a pipe or a file, found a terminal")
    return place


def _restore(
    repo: Repo, disk: DiskTree, where: Path | NbdUrl, place: _Place, progress: Progress, *, overwrite: bool
) -> Outcome:
    from ingot import embedded
    from ingot.streaming import stream
    from vsa.disks.formats import Format

    if place.stdout:
        return stream(repo, disk, sys.stdout.fileno(), progress)
    format = place.format_of(where) if isinstance(where, Path) else Format.RAW
    return embedded.restore(repo, disk, where, progress, overwrite=overwrite, format=format)


def _shown(where: Path | NbdUrl) -> str:
    return str(where.absolute()) if isinstance(where, Path) else str(where)


def _targets(
    point: RecoveryPoint, number: int | None, place: _Place, *, overwrite: bool
) -> list[tuple[DiskTree, Path | NbdUrl]]:
    """Which disk goes where; makes the directory for several. Raises DiskMissing, TargetExists, TargetUnwritable."""
    from media.faults import TargetExists, TargetUnwritable

    disks = chosen_disks(point, number)
    to = place.where
    if number is not None or len(disks) == 1 or not isinstance(to, Path):
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
    suffix = "raw" if place.format is None else place.format.value
    return [(disk, to / f"disk-{disk.disk}.{suffix}") for disk in disks]
