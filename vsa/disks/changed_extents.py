"""Changed extents of disks, as somebody who tracks changes wrote them into a JSON file.

    {"since": "000000001a", "disk": 0, "size": 1048576, "extents": [{"offset": 0, "length": 4096}]}

or an array of such objects, one a disk, all since the same recovery point. Whatever is not exactly that is refused:
an extent read wrongly is a change that is never backed up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from media.extents import Extent, normal
from vsa.faults import ChangesInvalid

_MEMBERS = ("since", "disk", "size", "extents")
_EXTENT_MEMBERS = ("offset", "length")
_MAX_SIZE = (1 << 63) - 1


@dataclass(frozen=True)
class ChangedExtents:
    """What may differ on disk number `disk`, of `size` bytes, from what recovery point `since` holds; normal."""

    since: str
    disk: int
    size: int
    extents: list[Extent]


def read_changed_extents(path: Path) -> list[ChangedExtents]:
    """What the file says, in its order. Raises ChangesInvalid: file, member, expected, found."""
    try:
        document = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_Pairs)
    except OSError as error:
        raise ChangesInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ChangesInvalid(f"{path}: expected JSON in UTF-8, found: {error}") from error
    if not isinstance(document, _Pairs) and isinstance(document, list):
        return _disks(_Place(path, ""), document)
    return [_disk(_Place(path, ""), document)]


class _Pairs(list[tuple[str, object]]):
    """The members of a JSON object as they were written, duplicates included."""


@dataclass(frozen=True)
class _Place:
    """Where in the file we are, for people."""

    path: Path
    member: str

    def inside(self, member: str | int) -> _Place:
        step = f"[{member}]" if isinstance(member, int) else f".{member}" if self.member else member
        return _Place(self.path, self.member + step)

    def refuse(self, expected: str, found: object) -> NoReturn:
        where = f"{self.path}: {self.member}" if self.member else f"{self.path}"
        raise ChangesInvalid(f"{where}: expected {expected}, found {_shown(found)}")


def _disks(place: _Place, items: list[object]) -> list[ChangedExtents]:
    if not items:
        place.refuse("one disk at least", items)
    disks: list[ChangedExtents] = []
    for number, item in enumerate(items):
        inside = place.inside(number)
        disk = _disk(inside, item)
        if any(disk.disk == other.disk for other in disks):
            inside.inside("disk").refuse("every disk once", disk.disk)
        if disk.since != (disks or [disk])[0].since:
            inside.inside("since").refuse(f"the same recovery point as before, {_shown(disks[0].since)}", disk.since)
        disks.append(disk)
    return disks


def _disk(place: _Place, value: object) -> ChangedExtents:
    members = _object(place, value, _MEMBERS)
    since = members["since"]
    if not isinstance(since, str) or not since:
        place.inside("since").refuse("the id of a recovery point", since)
    disk = _number(place.inside("disk"), members["disk"], 0, _MAX_SIZE)
    size = _number(place.inside("size"), members["size"], 1, _MAX_SIZE)
    extents = members["extents"]
    inside = place.inside("extents")
    if not isinstance(extents, list) or isinstance(extents, _Pairs):
        inside.refuse("an array", extents)
    return ChangedExtents(since, disk, size, _extents(inside, extents, size))


def _extents(place: _Place, items: list[object], size: int) -> list[Extent]:
    extents: list[Extent] = []
    position = 0
    for number, item in enumerate(items):
        inside = place.inside(number)
        members = _object(inside, item, _EXTENT_MEMBERS)
        offset = _number(inside.inside("offset"), members["offset"], 0, size - 1)
        if offset < position:
            inside.inside("offset").refuse(f"{position} or more, where the extent before ends", offset)
        length = _number(inside.inside("length"), members["length"], 1, size - offset)
        position = offset + length
        extents.append(Extent(offset, length))
    return normal(extents)


def _object(place: _Place, value: object, names: tuple[str, ...]) -> dict[str, object]:
    """The members of `value`, which must be exactly `names`."""
    if not isinstance(value, _Pairs) or sorted(name for name, _ in value) != sorted(names):
        place.refuse(f"an object of {', '.join(names)}", value)
    return dict(value)


def _number(place: _Place, value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        place.refuse(f"a whole number from {least} to {most}", value)
    return value


def _shown(found: object) -> str:
    """A value as JSON has it, cut to what a message bears."""
    if isinstance(found, _Pairs):
        return f"an object of {', '.join(name for name, _ in found) or 'nothing'}"
    if isinstance(found, list):
        return f"an array of {len(found)}"
    return json.dumps(found)
