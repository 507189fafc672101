"""`ingot list`: the recovery points of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli import options
from ingot.cli.exits import Exit
from ingot.cli.screen import fault_document, screen_of
from ingot.quantities import shown, size_text, table, time_text

if TYPE_CHECKING:
    from media.pool import Pool
    from media.recovery_point import Commit


def list_(
    context: typer.Context,
    repository: options.Repository,
    machine: Annotated[str | None, typer.Option(metavar="NAME", help="Only points of this machine.")] = None,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """List the recovery points, oldest first.

    Exit code 3 when some cannot be read.

    Example:

        ingot list --repository /backup/vms
    """
    from ingot.cli.secret import open_named
    from media.ids import sid_text
    from media.recovery_point import list_points

    screen = screen_of(context, json)
    repo = open_named(repository, passphrase_file, key_file, screen)
    points = list_points(repo.pool)
    documents = [
        point_document(repo.pool, commit)
        for commit in points.commits
        if machine is None or machine in (commit.machine.id, commit.machine.name)
    ]
    documents += [{"id": sid_text(sid), "fault": fault_document(fault)} for sid, fault in points.damaged.items()]
    documents.sort(key=lambda document: str(document["id"]))
    damaged = [document for document in documents if "fault" in document]
    for document in damaged:
        if not json:
            screen.note(f"{document['id']} cannot be read: {document['fault']['message']}")
    return screen.result(documents, _lines(documents), Exit.PARTIAL if damaged else Exit.GOOD)


def point_document(pool: Pool, commit: Commit) -> dict[str, Any]:
    """One point as `list` has it; with `fault` when its detail or marks cannot be read."""
    from media.faults import DamageFault
    from media.ids import sid_text
    from media.marks import read_marks
    from media.recovery_point import read_point

    document: dict[str, Any] = {
        "id": commit.id,
        "time": commit.time,
        "machine": commit.machine.name,
        "parent": None if commit.parent is None else sid_text(commit.parent),
    }
    try:
        point = read_point(pool, commit)
        document |= {
            "disks": [{"disk": disk.disk, "size": disk.size} for disk in point.disks],
            "disk_bytes": sum(disk.size for disk in point.disks),
            "new_bytes": point.statistics["new_bytes"],
            "stored_bytes": point.statistics["stored_bytes"],
            "marks": sorted({mark.kind.value for mark in read_marks(pool, commit.sid)}),
        }
    except DamageFault as fault:
        document["fault"] = fault_document(fault)
    return document


def _lines(documents: list[dict[str, Any]]) -> list[str]:
    if not documents:
        return ["no recovery points"]
    header = ("ID", "TIME (UTC)", "MACHINE", "DISKS", "SIZE", "NEW", "STORED", "MARKS")
    rows = []
    for document in documents:
        known = "disks" in document
        rows.append(
            (
                document["id"],
                time_text(document.get("time", "-")),
                shown(document.get("machine", "-")),
                str(len(document["disks"])) if known else "-",
                size_text(document["disk_bytes"]) if known else "-",
                size_text(document["new_bytes"]) if known else "-",
                size_text(document["stored_bytes"]) if known else "-",
                "DAMAGED" if "fault" in document else ", ".join(document["marks"]),
            )
        )
    return table(header, rows, frozenset({3, 4, 5, 6}))
