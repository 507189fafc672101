"""What happens to objects at rest, and repositories in memory that it is done to."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from media import frame
from media.frame import Kind
from media.ids import expiry_name
from media.marks import MarkKind, put_mark
from media.pool import Parameters
from media.recovery_point import Machine, list_points
from media.repository.memory import MemoryRepository
from tests.faults.scenario import (
    MACHINE,
    back_up_bytes,
    changed_disk,
    first_disk,
    make_repo,
)

Objects = dict[str, bytes]
Damage = Callable[[Objects, str, Objects], bytes | None]
"""The new bytes of the object `name` among its repository's; the third are those of another repository. None: gone."""

DISK = first_disk(3)
CHANGED, _ = changed_disk(DISK, 2, first=20, blocks=3)
OTHER = first_disk(2, seed=5)
POINTS = {1: DISK, 2: CHANGED, 3: OTHER}
EXPIRED = 4


def objects_of(place: MemoryRepository) -> Objects:
    return {entry.name: place.get(entry.name) for entry in place.list("")}


def place_with(objects: Mapping[str, bytes]) -> MemoryRepository:
    place = MemoryRepository()
    for name, body in objects.items():
        place.put_new(name, body)
    return place


def stored_objects(parameters: Parameters) -> Objects:
    """Two machines, three points, marks on them, and a fourth point that has expired."""
    place = MemoryRepository()
    repo = make_repo(place, parameters)
    back_up_bytes(repo, DISK)
    back_up_bytes(repo, CHANGED, list_points(repo.pool).newest_of(MACHINE.id))
    back_up_bytes(repo, OTHER, machine=Machine("db", "db"))
    back_up_bytes(repo, OTHER, machine=Machine("gone", "gone"))
    for sid in (2, 3):
        put_mark(repo.pool, sid, MarkKind.VERIFIED, "a test", "", repo.clock)
    name = expiry_name(EXPIRED)
    place.put_new(name, frame.encode_json(repo.pool.keys, Kind.EXPIRY, name, {"time": repo.clock.now()}))
    return objects_of(place)


def delete(objects: Objects, name: str, others: Objects) -> bytes | None:
    return None


def empty(objects: Objects, name: str, others: Objects) -> bytes | None:
    return b""


def halve(objects: Objects, name: str, others: Objects) -> bytes | None:
    return objects[name][: len(objects[name]) // 2]


def cut_short(objects: Objects, name: str, others: Objects) -> bytes | None:
    return objects[name][:-9]


def lengthen(objects: Objects, name: str, others: Objects) -> bytes | None:
    return objects[name] + bytes(16)


def take_from_other(objects: Objects, name: str, others: Objects) -> bytes | None:
    """The object of the same name, or of the same kind, of another repository."""
    return others.get(name) or next(body for key, body in others.items() if kind_of(key) == kind_of(name))


def swap(objects: Objects, name: str, others: Objects) -> bytes | None:
    """Another object of the same kind in the same repository; the same bytes when it is the only one."""
    same = [key for key in objects if kind_of(key) == kind_of(name)]
    return objects[same[same.index(name) - 1]]


def flip(seed: int) -> Damage:
    """One bit."""

    def flipped(objects: Objects, name: str, others: Objects) -> bytes | None:
        body = bytearray(objects[name])
        bit = random.Random(f"{seed} {kind_of(name)}").randrange(len(body) * 8)
        body[bit // 8] ^= 1 << bit % 8
        return bytes(body)

    flipped.__name__ = f"flip_{seed}"
    return flipped


def kind_of(name: str) -> str:
    return name.partition("/")[0]


DAMAGES: list[Damage] = [delete, empty, halve, cut_short, lengthen, take_from_other, swap, *map(flip, range(4))]
