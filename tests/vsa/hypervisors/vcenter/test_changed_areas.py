"""Changed areas of a disk: all pages, against a slow oracle; nothing that cannot be is believed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.extents import Extent, normal
from media.session_log import ParentDisk
from vsa.faults import TrackingUnusable
from vsa.hypervisors.vcenter.changed_areas import Page, parse_change_id, walk
from vsa.hypervisors.vcenter.disks import MachineDisk
from vsa.hypervisors.vcenter.tracking import unusable

BLOCK = 8


def paged(changed: set[int], capacity: int, most: int) -> Callable[[int], Page]:
    """A host that knows a set of changed bytes, answers at most `most` areas, and hates to be asked at the end."""

    def ask(offset: int) -> Page:
        assert 0 <= offset < capacity, "a host raises InvalidArgument"
        areas = normal(Extent(at, 1) for at in changed if at >= offset)
        if len(areas) <= most:
            return Page(offset, capacity - offset, areas)
        return Page(offset, areas[most].offset - offset, areas[:most])

    return ask


@given(st.integers(1, 200), st.data(), st.integers(1, 5))
def test_every_changed_byte_is_found_however_small_the_answers_are(
    capacity: int, data: st.DataObject, most: int
) -> None:
    changed = data.draw(st.sets(st.integers(0, capacity - 1)))
    found = walk(paged(changed, capacity, most), capacity)
    assert {at for extent in found for at in range(extent.offset, extent.end)} == changed
    assert found == normal(found)


@pytest.mark.parametrize(
    "page",
    [
        Page(8, 92, []),
        Page(0, 0, []),
        Page(0, -1, []),
        Page(0, 101, []),
        Page(0, 100, [Extent(50, 10), Extent(40, 5)]),
        Page(0, 100, [Extent(50, 10), Extent(59, 5)]),
        Page(0, 100, [Extent(95, 10)]),
        Page(0, 50, [Extent(45, 10)]),
        Page(0, 100, [Extent(-1, 10)]),
        Page(0, 100, [Extent(10, 0)]),
    ],
)
def test_an_answer_that_cannot_be_is_refused(page: Page) -> None:
    with pytest.raises(TrackingUnusable, match="expected"):
        walk(lambda _: page, 100)


def test_answers_without_end_end() -> None:
    with pytest.raises(TrackingUnusable, match="found 100000 answers"):
        walk(lambda offset: Page(offset, 1, []), 1 << 40)


def test_a_disk_of_nothing_is_not_asked_about() -> None:
    assert walk(lambda _: pytest.fail("asked"), 0) == []


def disk(change_id: str | None, size: int = 100) -> MachineDisk:
    return MachineDisk("key", "Hard disk 1", 2000, size, "[d] a/a.vmdk", change_id, None)


@pytest.mark.parametrize(
    ("now", "parent", "reason"),
    [
        ("52 de/5", ParentDisk(100, True, "52 de/4"), None),
        ("52 de/4", ParentDisk(100, True, "52 de/4"), None),
        ("52 de/3", ParentDisk(100, True, "52 de/4"), "reverted"),
        ("52 df/5", ParentDisk(100, True, "52 de/4"), "began anew"),
        ("52 de/5@vc1", ParentDisk(100, True, "52 de/4@vc1"), None),
        ("52 de/5@vc1", ParentDisk(100, True, "52 de/4@vc2"), "another vCenter"),
        ("52 de/5", ParentDisk(101, True, "52 de/4"), "resized from 101 to 100"),
        ("52 de/5", ParentDisk(100, False, "52 de/4"), "was cut"),
        ("52 de/5", ParentDisk(100, True, None), "no change id"),
        ("52 de/5", ParentDisk(100, True, "nbd-bitmap:x/y"), "no change id"),
        (None, ParentDisk(100, True, "52 de/4"), "is off"),
        ("52 de/5", None, "no recovery point"),
    ],
)
def test_changes_count_only_from_a_moment_of_the_same_tracking(
    now: str | None, parent: ParentDisk | None, reason: str | None
) -> None:
    found = unusable(disk(now), parent)
    assert (found is None) == (reason is None)
    assert reason is None or reason in (found or "")


def test_a_change_id_is_a_uuid_and_a_number_and_of_a_vcenter() -> None:
    told = "52 de c0 d9 b9 43 c9 10-15 97 7a 14 1a 1c 2e 09/12"
    found = parse_change_id(told, "vc1")
    assert found == ("52 de c0 d9 b9 43 c9 10-15 97 7a 14 1a 1c 2e 09", 12, "vc1")
    assert found is not None
    assert (found.told, parse_change_id(str(found))) == (told, found)
    assert [parse_change_id(text) for text in (None, "", "*", "12", "/12", "a/", "a/b")] == [None] * 7
