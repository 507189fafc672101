"""What cannot be done is refused with what, where, expected and found; and with nothing done."""

from __future__ import annotations

import json
import os
import random
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

from ingot.cli.screen import Screen
from tests.ingot.front_door import FrontDoor, finish, start


def refused(door: FrontDoor, code: int, fault: str, *arguments: str | Path) -> str:
    """Run it twice, once for each reader; the message."""
    said = door.run(*arguments, "--json")
    assert (said.code, said.json["error"]["code"], said.err) == (code, fault, "")
    message: str = said.json["error"]["message"]
    plain = door.run(*arguments)
    assert (plain.code, plain.out) == (code, "")
    assert len(plain.err.splitlines()) == 1
    assert plain.err.startswith("ingot: ")
    assert plain.err.endswith(f" [{fault}]\n")
    return message


def test_an_image_that_is_missing_empty_or_no_image_is_refused_and_nothing_is_written(made: FrontDoor) -> None:
    before = sorted(made.repository.rglob("*"))
    assert "nowhere.raw" in refused(made, 2, "vsa.image_missing", "backup", "nowhere.raw")
    Path("empty.raw").touch()
    assert "0 bytes" in refused(made, 2, "vsa.image_empty", "backup", "empty.raw")
    Path("folder").mkdir()
    assert "a directory" in refused(made, 2, "vsa.image_unfit", "backup", "folder")
    os.mkfifo("fifo")
    assert "a FIFO" in refused(made, 2, "vsa.image_unfit", "backup", "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert "a socket" in refused(made, 2, "vsa.image_unfit", "backup", "socket")
    assert sorted(made.repository.rglob("*")) == before


def test_an_image_that_cannot_be_read_is_a_fault(made: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    image = made.image()
    if os.geteuid() == 0:  # root reads everything: let the read itself fail

        def fails(*_: object) -> int:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "preadv", fails)
    else:
        image.chmod(0)
    assert str(image) in refused(made, 1, "media.disk_unreadable", "backup", image)
    monkeypatch.undo()


@pytest.mark.parametrize("size", [1, 511, 513, 4095, 4097, 1_000_001])
def test_sizes_that_are_no_multiple_of_anything_come_back_exactly(made: FrontDoor, size: int) -> None:
    image = made.directory / "odd.raw"
    image.write_bytes(random.Random(size).randbytes(size))
    made.good("backup", image)
    made.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()


class _Meanwhile:
    """Progress during which something happens to the image, after it was opened and before it is read."""

    def __init__(self, image: Path, size: int) -> None:
        self._image = image
        self._size = size

    def begin(self, phase: str, total: int) -> None:
        if phase == "backup":
            os.truncate(self._image, self._size)

    def advance(self, count: int) -> None:
        """Nothing."""


@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
def test_an_image_that_grows_or_shrinks_meanwhile_makes_no_point(
    made: FrontDoor, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    image = made.image()
    monkeypatch.setattr(Screen, "progress", lambda _: nullcontext(_Meanwhile(image, size)))
    said = made.run("backup", image)
    assert said.code == 1
    assert f"{image}: expected 3000000 bytes, found" in said.err
    assert made.document("list") == []


def test_a_wrong_key_and_a_wrong_passphrase_open_nothing(made: FrontDoor) -> None:
    Path("other").write_text("cd" * 32 + "\n")
    Path("other").chmod(0o600)
    assert "opens none of 1" in refused(made, 1, "media.key_wrong", "list", "--key-file", "other")
    Path("passphrase").write_text("not this\n")
    Path("passphrase").chmod(0o600)
    assert "no key slot of kind passphrase" in refused(
        made, 1, "media.key_wrong", "list", "--passphrase-file", "passphrase"
    )
    Path("short").write_text("abcd\n")
    Path("short").chmod(0o600)
    assert "short: key file: expected 64 hexadecimal digits" in refused(
        made, 2, "media.key_unfit", "list", "--key-file", "short"
    )


def test_of_two_inits_at_once_one_wins_and_the_other_leaves_no_key_behind(door: FrontDoor) -> None:
    processes = [start(door.directory, ["init", "--key-file", name]) for name in ("one", "two")]
    ran = dict(zip(("one", "two"), map(finish, processes), strict=True))
    assert sorted(each.code for each in ran.values()) == [0, 2], ran
    winner, loser = sorted(ran, key=lambda name: ran[name].code)
    assert "init" in ran[loser].err or "a repository is there" in ran[loser].err
    assert not Path(loser).exists()
    assert door.document("list", "--key-file", winner) == []


def test_a_place_that_is_not_empty_does_not_become_a_repository(door: FrontDoor) -> None:
    door.repository.mkdir()
    (door.repository / "holiday.jpg").write_bytes(b"sun")
    message = refused(door, 2, "media.repository_exists", "init")
    assert "expected an empty place, found holiday.jpg" in message
    assert not door.key.exists()


def test_the_parent_must_be_of_the_same_machine(made: FrontDoor) -> None:
    made.good("backup", made.image())
    message = refused(made, 2, "media.parent_unfit", "backup", made.image("db1.raw"), "--parent", "1")
    assert "expected a recovery point of db1, found web1's" in message


def test_changed_extents_must_count_from_the_parent_and_fit_the_image(made: FrontDoor) -> None:
    image = made.image()
    file = Path("changed.json")

    def changed(since: str = "1", disk: int = 0, size: int = 3_000_000) -> None:
        extents = [{"offset": 0, "length": 512}]
        file.write_text(json.dumps({"since": since, "disk": disk, "size": size, "extents": extents}))

    arguments = ("backup", image, "--changed-extents", file)
    changed()
    assert "counts from 1, but there is none" in refused(made, 2, "media.parent_unfit", *arguments)
    made.good("backup", image)
    made.good("backup", image)
    changed(since="no id")
    assert "counts from no id, but the parent is" in refused(made, 2, "media.parent_unfit", *arguments)
    newest = made.document("list")[-1]["id"]
    changed(since="1")
    assert f"counts from 1, but the parent is {newest}" in refused(made, 2, "media.parent_unfit", *arguments)
    changed(since=newest, size=4096)
    assert "found 4096" in refused(made, 2, "media.parent_unfit", *arguments)
    changed(since=newest, disk=1)
    assert "found disk 1" in refused(made, 2, "media.parent_unfit", *arguments)
    file.write_text('{"since": null}')
    assert str(file) in refused(made, 2, "vsa.changes_invalid", *arguments)


def test_a_restore_overwrites_nothing_unless_asked(made: FrontDoor) -> None:
    made.good("backup", made.image())
    Path("there").write_text("precious")
    assert "there: " in refused(made, 2, "media.target_exists", "restore", "1", "--to", "there")
    assert Path("there").read_text() == "precious"
    made.good("restore", "1", "--to", "there", "--overwrite")
    made.good("backup", made.image(), made.image("b.raw"))
    assert "there: exists" in refused(made, 2, "media.target_exists", "restore", "latest", "--to", "there")
    message = refused(made, 2, "media.target_exists", "restore", "latest", "--to", "there", "--overwrite")
    assert "expected a directory" in message
    assert "no such/x" in refused(made, 1, "media.target_unwritable", "restore", "1", "--to", "no such/x")


def test_a_disk_or_point_that_is_not_there_is_named_with_those_that_are(made: FrontDoor) -> None:
    assert "there is none at all" in refused(made, 2, "media.point_missing", "show", "1")
    made.good("backup", made.image(), made.image("b.raw"))
    message = refused(made, 2, "ingot.disk_missing", "restore", "1", "--disk", "2", "--to", "x")
    assert "expected one of its disks 0, 1, found --disk 2" in message
    assert "the newest is 0000000001" in refused(made, 2, "media.point_missing", "restore", "ff", "--to", "x")
    assert "latest:MACHINE" in refused(made, 2, "media.point_missing", "verify", "yesterday")
    assert "of machine db" in refused(made, 2, "media.point_missing", "show", "latest:db")


def test_a_repository_must_be_one_of_a_kind_and_format_that_is_known(made: FrontDoor) -> None:
    message = refused(made, 2, "media.repository_url_unknown", "list", "--repository", "ftp://host/path")
    assert "ftp" in message
    assert "file:///path" in message
    assert "`ingot init`" in refused(made, 1, "media.repository_missing", "list", "--repository", "nowhere")
    config = made.repository / "ingot.json"
    parameters = json.loads(config.read_text())
    config.chmod(0o600)
    config.write_text(json.dumps({**parameters, "format": 2}))
    assert "format 2" in refused(made, 1, "media.format_too_new", "list")
    config.write_text(json.dumps({**parameters, "created_at": "yesterday"}))
    assert "not the ones" in refused(made, 1, "media.repository_tampered", "list")


def test_usage_that_typer_finds_is_told_in_one_line(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No such option: --colour" in refused(door, 2, "ingot.usage", "list", "--colour")
    assert "IMAGE" in refused(door, 2, "ingot.usage", "backup")
    assert "300KiB" in refused(door, 2, "ingot.usage", "init", "--average-chunk", "300KiB")
    assert "--level" in refused(door, 2, "ingot.usage", "backup", "x", "--level", "77")
    assert "printable" in refused(door, 2, "ingot.usage", "backup", "x", "--machine", "a\x1b[2Jb")
    assert "found both" in refused(door, 2, "ingot.usage", "verify", "1", "--all")
    assert "No such command" in refused(door, 2, "ingot.usage", "expire")
    monkeypatch.delenv("INGOT_REPOSITORY")
    assert "--repository" in refused(door, 2, "ingot.usage", "list")


def test_without_a_command_the_help_is_shown(door: FrontDoor) -> None:
    said = door.run()
    assert said.code == 2
    assert "backup" in said.out
    assert said.err == ""


def test_what_nobody_expected_is_one_line_and_says_how_to_see_more(
    made: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("media.recovery_point.list_points", breaks)
    message = refused(made, 1, "ingot.unexpected", "list")
    assert message == "ZeroDivisionError: by zero; INGOT_TRACEBACK=1 in the environment shows where it comes from"
    monkeypatch.setenv("INGOT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        made.run("list")


def test_names_that_others_chose_do_not_reach_the_terminal_as_they_are(made: FrontDoor) -> None:
    evil = made.directory / "web\x1b[31m.raw"
    made.image().rename(evil)
    made.good("backup", evil, "--machine", "web1")
    assert "\x1b" not in made.good("show", "1").out


def test_a_restore_to_a_url_that_is_no_export_is_refused_by_its_kind(made: FrontDoor) -> None:
    made.good("backup", made.image())
    said = made.run("restore", "latest", "--to", "s3://bucket/disk.raw")
    assert said.code == 2
    assert "found a URL of kind s3:" in said.err
    assert list(Path().glob("s3*")) == []
