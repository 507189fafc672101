"""`ingot verify`: would a restore bring it back?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli import options
from ingot.cli.exits import Exit
from ingot.cli.loss import loss_documents, loss_lines
from ingot.cli.screen import fault_document, screen_of
from ingot.cli.traffic import traffic_document, traffic_lines
from ingot.quantities import count_text, seconds_text, shown, size_text

if TYPE_CHECKING:
    from ingot.verification import Checked, Result


def verify(
    context: typer.Context,
    repository: options.Repository,
    point: Annotated[
        str | None,
        typer.Argument(
            metavar="[RP]", help="An id, `latest` or `latest:MACHINE`. Without it: the newest point of every machine."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every container, byte by byte, and every recovery point.")
    ] = False,
    index: options.Index = None,
    limit_rate: options.LimitRate = None,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Read and check every byte, as a restore would.

    Exit code 3 when something is lost. Without an argument the newest point of every machine is read: what one would
    restore today. Points are marked `verified` or `suspect`; after damage the next backup of the machine reads
    everything and stores what is damaged again.

    Examples:

        ingot verify --repository /backup/vms

        ingot verify --all --repository /backup/vms
    """
    from ingot.cli.secret import open_named
    from ingot.faults import UsageWrong
    from ingot.verification import Checked, newest_of_each, verify_everything, verify_points
    from media.ids import sid_text
    from media.recovery_point import list_points

    screen = screen_of(context, json)
    if everything and point is not None:
        raise UsageWrong(f"expected a recovery point or --all, found both: {point} and --all")
    repo = open_named(repository, passphrase_file, key_file, screen, limit_rate)
    points = list_points(repo.pool)
    started = repo.clock.monotonic_seconds()
    with screen.progress() as progress:
        if everything:
            result = verify_everything(repo, points, index, progress)
        elif point is not None:
            result = verify_points(repo, [points.find(point)], index, progress)
        else:
            result = verify_points(repo, newest_of_each(points), index, progress)
            result.points += [Checked(sid_text(sid), None, fault=fault) for sid, fault in points.damaged.items()]
    seconds = repo.clock.monotonic_seconds() - started
    if not result.good and not everything:
        screen.note("other points may be hit as well; `ingot verify --all` finds and marks them")
    code = Exit.GOOD if result.good else Exit.PARTIAL
    document = {**_document(result, seconds), "traffic": traffic_document(repo)}
    return screen.result(document, [*_lines(result, seconds), *traffic_lines(repo)], code)


def _document(result: Result, seconds: float) -> dict[str, Any]:
    from media.ids import cid_text

    return {
        "good": result.good,
        "points": [
            {
                "id": point.id,
                "machine": point.machine,
                "good": point.good,
                "fault": None if point.fault is None else fault_document(point.fault),
                "lost_extents": loss_documents(point.lost),
            }
            for point in result.points
        ],
        "containers": result.containers,
        "damaged_containers": [
            {"container": cid_text(cid), "faults": [fault_document(fault) for fault in damaged.faults]}
            for cid, damaged in sorted(result.damaged.items())
        ],
        "seconds": seconds,
    }


def _lines(result: Result, seconds: float) -> list[str]:
    lines = []
    for point in result.points:
        verdict = "good" if point.good else "DAMAGED"
        lines.append(f"{point.id}  {shown(point.machine or '-')}  {verdict}")
        if point.fault is not None:
            lines.append(f"  {point.fault}")
        lines += [f"  {line}" for line in loss_lines(point.lost)]
    for damaged in result.damaged.values():
        lines += [f"damaged: {fault}" for fault in damaged.faults]
    return [*lines, _summary(result.points, result, seconds)]


def _summary(points: list[Checked], result: Result, seconds: float) -> str:
    bad = sum(not point.good for point in points)
    verdict = "all good" if result.good else f"{bad} damaged" if bad else "damage in what no point needs"
    if result.containers is None:
        read = size_text(sum(point.bytes for point in points))
    else:
        read = count_text(result.containers, "container")
    return f"{count_text(len(points), 'recovery point')} verified, {verdict}; {read} in {seconds_text(seconds)}"
