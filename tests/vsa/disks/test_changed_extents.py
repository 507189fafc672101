"""Files of changed extents: exactly as written down, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from media.extents import Extent
from runtime.faults import UsageFault
from vsa.disks.changed_extents import ChangedExtents, read_changed_extents
from vsa.faults import ChangesInvalid

GOOD = {"since": "000000001a", "disk": 0, "size": 1 << 20, "extents": [{"offset": 4096, "length": 512}]}


def written(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "changes.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def extent(offset: object, length: object) -> dict[str, object]:
    return {"offset": offset, "length": length}


def test_one_disk_is_read(tmp_path: Path) -> None:
    expected = ChangedExtents("000000001a", 0, 1 << 20, [Extent(4096, 512)])
    assert read_changed_extents(written(tmp_path, GOOD)) == [expected]


def test_an_array_has_one_object_a_disk_in_any_order(tmp_path: Path) -> None:
    disks = read_changed_extents(written(tmp_path, [GOOD | {"disk": 2}, GOOD | {"disk": 0, "extents": []}]))
    assert [(disk.disk, disk.extents) for disk in disks] == [(2, [Extent(4096, 512)]), (0, [])]


def test_extents_that_touch_are_joined_and_may_reach_the_end(tmp_path: Path) -> None:
    document = GOOD | {"extents": [extent(0, 512), extent(512, 512), extent((1 << 20) - 1, 1)]}
    assert read_changed_extents(written(tmp_path, document))[0].extents == [Extent(0, 1024), Extent((1 << 20) - 1, 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"since": ""}, 'since: expected the id of a recovery point, found ""'),
        ({"since": 26}, "since: expected the id of a recovery point, found 26"),
        ({"disk": -1}, "disk: expected a whole number from 0 to 9223372036854775807, found -1"),
        ({"disk": "0"}, 'disk: expected a whole number from 0 to 9223372036854775807, found "0"'),
        ({"disk": True}, "disk: expected a whole number from 0 to 9223372036854775807, found true"),
        ({"size": 0}, "size: expected a whole number from 1 to 9223372036854775807, found 0"),
        ({"size": 1e6}, "size: expected a whole number from 1 to 9223372036854775807, found 1000000.0"),
        ({"size": None}, "size: expected a whole number from 1 to 9223372036854775807, found null"),
        ({"extents": {}}, "extents: expected an array, found an object of nothing"),
        ({"extents": None}, "extents: expected an array, found null"),
        ({"extents": [4096]}, "extents[0]: expected an object of offset, length, found 4096"),
        ({"extents": [[0, 1]]}, "extents[0]: expected an object of offset, length, found an array of 2"),
        ({"extents": [{"offset": 0}]}, "extents[0]: expected an object of offset, length, found an object of offset"),
        ({"extents": [extent(-1, 1)]}, "extents[0].offset: expected a whole number from 0 to 1048575, found -1"),
        ({"extents": [extent(0.5, 1)]}, "extents[0].offset: expected a whole number from 0 to 1048575, found 0.5"),
        ({"extents": [extent(0, 0)]}, "extents[0].length: expected a whole number from 1 to 1048576, found 0"),
        (
            {"extents": [extent(9, 1 << 20)]},
            "extents[0].length: expected a whole number from 1 to 1048567, found 1048576",
        ),
        (
            {"extents": [extent(1 << 20, 1)]},
            "extents[0].offset: expected a whole number from 0 to 1048575, found 1048576",
        ),
        (
            {"extents": [extent(0, 8), extent(7, 8)]},
            "extents[1].offset: expected 8 or more, where the extent before ends, found 7",
        ),
        (
            {"extents": [extent(512, 8), extent(0, 8)]},
            "extents[1].offset: expected 520 or more, where the extent before ends, found 0",
        ),
        (
            {"more": 1},
            "expected an object of since, disk, size, extents, found an object of since, disk, size, extents, more",
        ),
    ],
)
def test_a_wrong_member_is_named_with_what_was_expected_and_found(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = written(tmp_path, GOOD | change)
    with pytest.raises(ChangesInvalid) as raised:
        read_changed_extents(path)
    assert str(raised.value) == f"{path}: {message}"
    assert isinstance(raised.value, UsageFault)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "expected one disk at least, found an array of 0"),
        (7, "expected an object of since, disk, size, extents, found 7"),
        ([GOOD, 7], "[1]: expected an object of since, disk, size, extents, found 7"),
        ([GOOD, GOOD], "[1].disk: expected every disk once, found 0"),
        (
            [GOOD, GOOD | {"disk": 1, "since": "000000001b"}],
            '[1].since: expected the same recovery point as before, "000000001a", found "000000001b"',
        ),
        ([GOOD | {"size": -1}], "[0].size: expected a whole number from 1 to 9223372036854775807, found -1"),
        (
            '{"since": "1", "disk": 0, "size": 1, "size": 2, "extents": []}',
            "expected an object of since, disk, size, extents, found an object of since, disk, size, size, extents",
        ),
        ("", "expected JSON in UTF-8, found: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_a_wrong_document_is_refused(tmp_path: Path, document: object, message: str) -> None:
    path = written(tmp_path, document)
    with pytest.raises(ChangesInvalid) as raised:
        read_changed_extents(path)
    assert str(raised.value) == f"{path}: {message}"


@pytest.mark.parametrize("text", [b'{"since"', b"\xff\xfe", b"[" * 200_000, b"9" * 10_000, b"[] []"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "changes.json"
    path.write_bytes(text)
    with pytest.raises(ChangesInvalid, match=r"changes\.json: expected JSON in UTF-8"):
        read_changed_extents(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChangesInvalid, match="cannot be read: No such file or directory"):
        read_changed_extents(tmp_path / "missing.json")
    with pytest.raises(ChangesInvalid, match="cannot be read: Is a directory"):
        read_changed_extents(tmp_path)
