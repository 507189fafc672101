"""`ingot backup`: disk images in, a recovery point out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of
from ingot.cli.service.asking import PANEL, Authority, CommServe, TokenFile, opened
from ingot.cli.traffic import traffic_document, traffic_lines
from ingot.quantities import count_text, rate_text, ratio_text, seconds_text, shown, size_text

if TYPE_CHECKING:
    from media.recovery_point import RecoveryPoint
    from vsa.disks.changed_extents import ChangedExtents
    from vsa.disks.opening import Choice
    from vsa.nbd.url import NbdUrl


def backup(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...",
            show_default=False,
            help="Disk images (raw, qcow2, VMDK, VHD, VHDX, VDI), block devices or URLs of NBD exports: "
            "disks 0, 1, ... of one machine.",
        ),
    ] = None,
    repository: options.BackupRepository = None,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=PANEL,
            help="Instead of images: have the CommServe back up the machines of a plan now, and watch.",
        ),
    ] = None,
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
    format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="raw, qcow2, vmdk, vhd, vhdx or vdi. Without it: as the name ends."),
    ] = None,
    snapshot: Annotated[
        str | None, typer.Option(metavar="NAME", help="The internal snapshot of a qcow2 image, not what it is now.")
    ] = None,
    backing_dir: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A directory besides its own from which a qcow2 image may build on files."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The dirty bitmap that was made at the moment that the NBD export shows; the next backup asks for it.",
        ),
    ] = None,
    level: Annotated[int, typer.Option(min=1, max=19, metavar="N", help="Level of zstd compression, 1 to 19.")] = 1,
    index: options.Index = None,
    limit_rate: options.LimitRate = None,
    commserve: CommServe = None,
    token_file: TokenFile = None,
    authority: Authority = None,
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

        ingot backup web2.qcow2 --snapshot before-upgrade --repository /backup/vms

        ingot backup nbd+unix:///vda?socket=/run/web3.sock --machine web3 --checkpoint c7 --repository /backup/vms

        ingot backup --plan daily
    """
    from ingot.cli.secret import open_named
    from ingot.cli.service.plan import run_plan
    from ingot.embedded import back_up
    from ingot.faults import UsageWrong
    from ingot.sources import Images

    screen = screen_of(context, json)
    if plan is not None:
        if images:
            raise UsageWrong(f"--plan {plan}: expected no images, found {images[0]}")
        with opened(screen, commserve, token_file, authority) as door:
            return run_plan(door, plan, machine)
    if not images or repository is None:
        raise UsageWrong("expected IMAGE and --repository, or --plan")
    places = _places(images, checkpoint)
    name = _machine(machine, places[0])
    choice = _choice(format, snapshot, backing_dir or [])
    changed = _changed(changed_extents)
    repo = open_named(repository, passphrase_file, key_file, screen, limit_rate)
    started = repo.clock.monotonic_seconds()
    with screen.progress() as progress:
        report = back_up(repo, Images(name, places, changed, choice, checkpoint), parent, level, index, progress)
    seconds = repo.clock.monotonic_seconds() - started
    document = {
        **backup_document(report.point),
        "seconds": seconds,
        "phases": report.phases,
        "traffic": traffic_document(repo),
    }
    lines = backup_lines(report.point, seconds, repo.pool.repository.url)
    return screen.result(document, [*lines, *traffic_lines(repo)])


def _places(images: list[str], checkpoint: str | None) -> list[Path | NbdUrl]:
    from ingot.faults import UsageWrong
    from vsa.nbd.url import is_nbd_url, parse_nbd_url

    places = [parse_nbd_url(image) if is_nbd_url(image) else Path(image) for image in images]
    if checkpoint is not None and not (checkpoint and any(is_nbd_url(image) for image in images)):
        raise UsageWrong("--checkpoint: expected the name of a dirty bitmap, and an NBD export that has it")
    return places


def _machine(machine: str | None, first: Path | NbdUrl) -> str:
    from ingot.faults import UsageWrong

    if machine is None and not isinstance(first, Path):
        raise UsageWrong(f"--machine: expected whose disk {first} is, found nothing; many exports have the same name")
    name = first.absolute().stem if machine is None and isinstance(first, Path) else machine or ""
    if not name.strip() or not name.isprintable():
        raise UsageWrong(f"--machine: expected a name of printable characters, found {name!r}")
    return name


def _choice(format: str | None, snapshot: str | None, backing_dirs: list[Path]) -> Choice:
    from vsa.disks.opening import Choice

    return Choice(options.image_format(format), snapshot, tuple(backing_dirs))


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
