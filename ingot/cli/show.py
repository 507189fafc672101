"""`ingot show`: one recovery point in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of
from ingot.quantities import shown, size_text, time_text

if TYPE_CHECKING:
    from media.marks import Mark
    from media.recovery_point import RecoveryPoint

PointArgument = Annotated[
    str, typer.Argument(metavar="RP", help="An id, with or without leading zeros; `latest`; or `latest:MACHINE`.")
]


def show(
    context: typer.Context,
    point: PointArgument,
    repository: options.Repository,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Show one recovery point in full.

    Example:

        ingot show latest:web1 --repository /backup/vms
    """
    from ingot.cli.secret import open_named
    from media.marks import read_marks
    from media.recovery_point import list_points, read_point

    screen = screen_of(context, json)
    repo = open_named(repository, passphrase_file, key_file, screen)
    found = read_point(repo.pool, list_points(repo.pool).find(point))
    marks = read_marks(repo.pool, found.sid)
    return screen.result(_document(found, marks), _lines(found, marks))


def _document(point: RecoveryPoint, marks: list[Mark]) -> dict[str, Any]:
    from media.ids import sid_text

    return {
        "id": point.id,
        "time": point.time,
        "machine": point.machine.name,
        "parent": None if point.parent is None else sid_text(point.parent),
        "disks": [
            {
                "disk": disk.disk,
                "size": disk.size,
                "hole_bytes": disk.size - disk.data_bytes,
                "chunker": disk.chunker,
                "average_chunk_bytes": disk.average_chunk_bytes,
                "change_id": disk.change_id,
            }
            for disk in point.disks
        ],
        "description": point.description,
        "statistics": point.statistics,
        "marks": [
            {"kind": mark.kind.value, "time": mark.time, "who": mark.who, "note": mark.note, "until": mark.until}
            for mark in marks
        ],
    }


def _lines(point: RecoveryPoint, marks: list[Mark]) -> list[str]:
    document = _document(point, marks)
    sources = point.description.get("disks", [])
    lines = [
        f"recovery point {point.id}",
        f"  machine  {shown(point.machine.name)}",
        f"  time     {time_text(point.time)} UTC",
        f"  parent   {document['parent'] or 'none'}",
        f"  read     {size_text(point.statistics['read_bytes'])}",
        f"  new      {size_text(point.statistics['new_bytes'])}",
        f"  stored   {size_text(point.statistics['stored_bytes'])}",
    ]
    for number, disk in enumerate(document["disks"]):
        source = sources[number].get("path", "") if number < len(sources) else ""
        empty = f", {size_text(disk['hole_bytes'])} of it empty" if disk["hole_bytes"] else ""
        lines.append(
            f"  disk {disk['disk']}   {size_text(disk['size'])}{empty}{f', from {shown(source)}' if source else ''}"
        )
    for mark in marks:
        note = f": {shown(mark.note)}" if mark.note else ""
        lines.append(f"  mark     {mark.kind.value}, {time_text(mark.time)} UTC, by {shown(mark.who)}{note}")
    return lines
