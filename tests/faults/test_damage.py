"""Damage at rest, to every kind of object in every way: a named fault or a partial outcome, and never a wrong byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingot.embedded import Repo
from ingot.verification import verify_everything
from media.faults import DamageFault, KeyFault, RepositoryMissing
from media.ids import CONTAINERS, cid_of_name, sid_text
from media.pool import Parameters
from media.recovery_point import Commit, list_points, read_point
from media.repository.memory import MemoryRepository
from tests.faults.damages import (
    CHANGED,
    DAMAGES,
    OTHER,
    POINTS,
    Damage,
    Objects,
    delete,
    flip,
    halve,
    place_with,
    stored_objects,
    take_from_other,
)
from tests.faults.scenario import (
    OPEN,
    SEALED,
    Quiet,
    back_up_image,
    changed_disk,
    open_repo_at,
    restore_disk,
    restored,
    verdict_on,
)

NEXT, _ = changed_disk(CHANGED, 7, first=40)
NAMED = re.compile(r"c-[0-9a-f]+\.[0-9a-f]+|rpd/[0-9a-f]{10}")
KINDS = ["c", "rp", "rpd", "rpm", "rpx", "sess", "ingot.json", "keys"]


@pytest.fixture(scope="module", params=[OPEN, SEALED], ids=["open", "sealed"])
def parameters(request: pytest.FixtureRequest) -> Parameters:
    found = request.param
    assert isinstance(found, Parameters)
    return found


@pytest.fixture(scope="module")
def objects(parameters: Parameters) -> Objects:
    return stored_objects(parameters)


@pytest.fixture(scope="module")
def others(parameters: Parameters) -> Objects:
    return stored_objects(parameters)


def restored_in_part(repo: Repo, commit: Commit, expected: bytes, told: list[str]) -> int:
    """Restore what can be; how many bytes were `told` as lost. Whatever was not is right."""
    try:
        point = read_point(repo.pool, commit)
    except DamageFault as fault:
        told.append(str(fault))
        return len(expected)
    data, outcome = restore_disk(repo.pool, point.disks[0])
    whole = bytearray(expected)
    for lost in outcome.lost:
        told.append(str(lost.fault))
        whole[lost.extent.offset : lost.extent.end] = bytes(lost.extent.length)
    assert data == whole
    lost_bytes = sum(extent.length for extent in outcome.lost_extents)
    assert outcome.bytes_written + outcome.hole_bytes + lost_bytes == len(expected)
    return lost_bytes


def check_product(place: MemoryRepository, parameters: Parameters, directory: Path, *, lossless: bool) -> None:
    """List, restore, verify, back up, heal. `lossless` damage leaves every point listed and whole."""
    repo = open_repo_at(place, parameters)
    points = list_points(repo.pool)
    found = {commit.sid: commit for commit in points.commits}
    assert found.keys() <= POINTS.keys() | {4}
    told: list[str] = []
    lost = {sid: restored_in_part(repo, commit, POINTS.get(sid, OTHER), told) for sid, commit in found.items()}
    assert all(NAMED.search(fault) for fault in told), told
    verdict = verdict_on(repo.pool)
    damaged_points = {sid for sid, count in lost.items() if count} | points.damaged.keys()
    assert damaged_points == verdict.lost.keys() | verdict.unreadable_points.keys()
    for sid, by_disk in verdict.lost.items():
        assert sum(one.extent.length for one in by_disk[0]) == lost[sid]
    if lossless:
        assert not damaged_points
        assert found.keys() >= POINTS.keys()

    directory.mkdir()
    index, image = directory / "index", directory / "disk.raw"
    point = back_up_image(repo, image, NEXT, index)
    assert point.sid not in found
    after = open_repo_at(place, parameters)
    commit = next(c for c in list_points(after.pool).commits if c.sid == point.sid)
    still_lost = restored_in_part(after, commit, NEXT, told)
    # What is lost in a container whose footer still answers is inherited, or found again, as lost.
    assert still_lost <= max(lost.values(), default=0)

    after.notes.clear()
    verify_everything(after, list_points(after.pool), index, Quiet())
    healed = back_up_image(open_repo_at(place, parameters), image, NEXT, index)
    commit = next(c for c in list_points(after.pool).commits if c.sid == healed.sid)
    assert restored(open_repo_at(place, parameters).pool, commit) == NEXT


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_object_is_told_and_the_rest_is_right(
    objects: Objects, others: Objects, parameters: Parameters, tmp_path: Path, kind: str, damage: Damage
) -> None:
    for number, name in enumerate(sorted(objects)):
        if name.partition("/")[0] != kind or (kind == "c" and number % 2 == parameters.encrypted):
            continue  # half of the containers each: sealing changes what is in a record, not where damage is met
        body = damage(objects, name, others)
        if body == objects[name]:
            continue
        changed = {**objects, name: body}
        place = place_with({key: value for key, value in changed.items() if value is not None})
        if kind in ("ingot.json", "keys"):
            try:
                open_repo_at(place, parameters)
            except (KeyFault, DamageFault, RepositoryMissing):
                continue
        check_product(place, parameters, tmp_path / f"{number}", lossless=kind in ("sess", "rpm", "ingot.json", "keys"))


def containers_of(objects: Objects, sid: int) -> list[str]:
    return sorted(name for name in objects if name.startswith(f"{CONTAINERS}{sid_text(sid)}/"))


@pytest.mark.parametrize("damage", [delete, halve, flip(1), flip(2)], ids=lambda damage: damage.__name__)
def test_what_is_lost_heals_with_verification_and_the_next_backup(
    objects: Objects, others: Objects, parameters: Parameters, tmp_path: Path, damage: Damage
) -> None:
    """An index that answered with the container, and knows its footer, forgets it; its point is no parent any more."""
    for name in containers_of(objects, 1):
        site = tmp_path / name.replace("/", "-")
        site.mkdir()
        index, image = site / "index", site / "disk.raw"
        place = place_with(objects)
        back_up_image(open_repo_at(place, parameters), image, CHANGED, index)
        body = damage(objects, name, others)
        place.delete(name)
        if body is not None:
            place.put_new(name, body)
        repo = open_repo_at(place, parameters)
        result = verify_everything(repo, list_points(repo.pool), index, Quiet())
        assert not result.good
        assert body is None or cid_of_name(name) in result.damaged
        point = back_up_image(open_repo_at(place, parameters), image, NEXT, index)
        after = open_repo_at(place, parameters)
        assert restored(after.pool, list_points(after.pool).find(point.id)) == NEXT


def test_a_whole_repository_exchanged_for_another_is_not_taken_for_it(
    objects: Objects, others: Objects, parameters: Parameters
) -> None:
    """Everything but the parameters and keys is another repository's: no point, no byte of it is shown."""
    place = place_with(
        {
            name: (objects if name.startswith(("ingot", "keys")) else others)[name]
            for name in objects
            if name in others or name.startswith(("ingot", "keys"))
        }
    )
    points = list_points(open_repo_at(place, parameters).pool)
    assert not points.commits
    assert points.damaged.keys() == {1, 2, 3}
    assert take_from_other(objects, "rp/0000000001", others) == others["rp/0000000001"]
