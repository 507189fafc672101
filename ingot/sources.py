"""The disks of one machine, opened for a backup: images and live exports, and what changed of each since the parent."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from media.backup import Source
from media.extents import Extent
from media.faults import DamageFault, ParentUnfit
from media.pool import Pool
from media.recovery_point import JSON, Commit, read_point
from runtime.clock import Clock
from vsa.disks.changed_extents import ChangedExtents
from vsa.disks.live import Checkpoint, checkpoint_of, open_live
from vsa.disks.opening import AS_NAMED, Choice, open_image
from vsa.faults import CheckpointReused
from vsa.nbd.url import NbdUrl


@dataclass(frozen=True)
class Images:
    """What to back up: images and live exports are disks 0 .. n of one machine.

    `checkpoint` names the dirty bitmap that was made on every live disk at the moment that its export shows.
    """

    machine: str
    places: list[Path | NbdUrl]
    changed: dict[int, ChangedExtents]  # by disk number; empty: read everything
    choice: Choice = AS_NAMED
    checkpoint: str | None = None


def description(images: Images) -> JSON:
    """Where the disks lay, for whoever looks at the point later."""
    disks = [
        {"url": str(place)} if isinstance(place, NbdUrl) else {"path": str(place.absolute())} for place in images.places
    ]
    return {"source": "images", "disks": disks}


def open_sources(
    stack: ExitStack, images: Images, pool: Pool, parent: Commit | None, clock: Clock, notes: list[str]
) -> list[Source]:
    """Open every disk, to be closed by `stack`. What a person should know about how they are read goes to `notes`.

    Raises SourceFault, ParentUnfit, CheckpointReused.
    """
    before = _checkpoints(pool, parent) if images.checkpoint is not None else {}
    sources: list[Source] = []
    for number, place in enumerate(images.places):
        key = str(number)
        if isinstance(place, NbdUrl):
            sources.append(_live(stack, key, place, images.checkpoint, before.get(key), clock, notes))
        else:
            image = open_image(place, images.choice, clock)
            stack.callback(image.close)
            sources.append(Source(key, image))
    changes = _changes(images, sources, parent)
    return [
        Source(source.key, source.disk, changes.get(number, source.changes), source.change_id)
        for number, source in enumerate(sources)
    ]


def _checkpoints(pool: Pool, parent: Commit | None) -> dict[str, Checkpoint]:
    """What the parent recorded, by the key of the disk. Nothing when it cannot be read: the backup says so itself."""
    if parent is None:
        return {}
    try:
        disks = read_point(pool, parent).disks
    except DamageFault:
        return {}
    found = {disk.key: checkpoint_of(disk.change_id) for disk in disks}
    return {key: checkpoint for key, checkpoint in found.items() if checkpoint is not None}


def _live(
    stack: ExitStack,
    key: str,
    url: NbdUrl,
    bitmap: str | None,
    before: Checkpoint | None,
    clock: Clock,
    notes: list[str],
) -> Source:
    """A live disk, with its changes when its server has the bitmap that the parent recorded."""
    if bitmap is None:
        return Source(key, stack.enter_context(open_live(url, None, clock)))
    if before is not None and before.bitmap == bitmap:
        raise CheckpointReused(f"disk {key}: expected another name than the parent's checkpoint {bitmap!r}")
    since = before if before is not None and before.export == url.export else None
    disk = stack.enter_context(open_live(url, since, clock))
    changes = None if since is None else disk.dirty_extents(since.bitmap)
    if changes is None:
        why = f"the server has no bitmap {since.bitmap!r} for it" if since else "the parent has no checkpoint of it"
        notes.append(f"disk {key} is read whole: {why}")
    return Source(key, disk, changes, str(Checkpoint(url.export, bitmap)))


def _changes(images: Images, sources: list[Source], parent: Commit | None) -> dict[int, list[Extent]]:
    """The changed extents by disk, after checking that they count from the parent and fit the images."""
    for number, changed in images.changed.items():
        found = "there is none" if parent is None else f"the parent is {parent.id}"
        if parent is None or changed.since.zfill(len(parent.id)).lower() != parent.id:
            raise ParentUnfit(f"--changed-extents: disk {number} counts from {changed.since}, but {found}")
        if number >= len(sources):
            raise ParentUnfit(f"--changed-extents: expected disks below {len(sources)}, found disk {number}")
        size = sources[number].disk.size
        if changed.size != size:
            raise ParentUnfit(
                f"--changed-extents: disk {number}: expected the {size} bytes of {images.places[number]}, "
                f"found {changed.size}"
            )
    return {number: changed.extents for number, changed in images.changed.items()}
