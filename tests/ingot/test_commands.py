"""What each command says when all is well, to a person and to a program."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.ingot.front_door import FrontDoor


def test_init_makes_a_key_file_for_its_owner_only_and_says_what_losing_it_means(door: FrontDoor) -> None:
    said = door.good("init")
    assert stat.S_IMODE(door.key.stat().st_mode) == 0o600
    assert len(door.key.read_text()) == 65
    assert str(door.key) in said.out
    assert "the data is lost" in said.out
    assert "two copies" in said.out
    assert said.err == ""


def test_init_takes_a_key_file_that_is_there(door: FrontDoor) -> None:
    door.key.write_text("ab" * 32 + "\n")
    door.key.chmod(0o600)
    document = door.document("init", "--average-chunk", "128KiB")
    assert document["key_file_made"] is None
    assert document["average_chunk_bytes"] == 128 << 10
    assert document["encryption"] == "aes-256-gcm"
    assert door.key.read_text() == "ab" * 32 + "\n"


def test_a_repository_without_encryption_needs_no_secret_and_is_refused_when_one_is_given(door: FrontDoor) -> None:
    assert "not encrypted" in door.good("init", "--no-encryption").out
    door.key.write_text("ab" * 32 + "\n")
    door.key.chmod(0o600)
    said = door.run("list")
    assert said.code == 2
    assert "expected an encrypted repository" in said.err


def test_a_backup_tells_what_was_new_and_the_next_one_that_nothing_was(made: FrontDoor) -> None:
    image = made.image()
    first = made.document("backup", image)
    assert first["machine"] == "web1"
    assert first["recovery_point"] == "0000000001"
    assert first["parent"] is None
    assert first["disk_bytes"] == 3_000_000
    assert first["disk_bytes"] == first["read_bytes"] + first["hole_bytes"]
    assert first["new_bytes"] > 1_900_000
    assert first["stored_bytes"] > first["new_bytes"]  # noise does not shrink
    assert first["chunks"] == first["new_chunks"] > 0
    assert first["seconds"] > 0
    assert "read" in first["phases"]
    assert first["notes"] == []
    second = made.document("backup", image)
    assert second["parent"] == "0000000001"
    assert second["new_chunks"] == second["new_bytes"] == second["stored_bytes"] == 0
    said = made.good("backup", image)
    assert said.out.startswith("recovery point 0000000003 of web1, parent 0000000002\n")
    assert "2.86 MiB in 1 disk" in said.out
    assert said.err == ""


def test_the_list_is_oldest_first_and_of_one_machine_when_asked(made: FrontDoor) -> None:
    made.good("backup", made.image())
    made.good("backup", made.image("db1.raw", seed=1), made.image("data.raw", seed=2), "--machine", "db")
    listed = made.document("list")
    assert [(point["id"], point["machine"]) for point in listed] == [("0000000001", "web1"), ("0000000002", "db")]
    assert listed[1]["disks"] == [{"disk": 0, "size": 3_000_000}, {"disk": 1, "size": 3_000_000}]
    assert listed[1]["disk_bytes"] == 6_000_000
    assert listed[0]["marks"] == []
    lines = made.good("list").out.splitlines()
    assert lines[0].split()[:2] == ["ID", "TIME"]
    assert [line.split()[0] for line in lines[1:]] == ["0000000001", "0000000002"]
    assert [point["id"] for point in made.document("list", "--machine", "db")] == ["0000000002"]


def test_a_point_is_shown_by_its_id_without_zeros_and_as_the_latest(made: FrontDoor) -> None:
    image = made.image()
    made.good("backup", image)
    document = made.document("show", "1")
    assert document["disks"][0]["size"] == 3_000_000
    assert document["description"]["disks"] == [{"path": str(image)}]
    assert document["statistics"]["disk_bytes"] == 3_000_000
    assert made.document("show", "latest:web1")["id"] == document["id"]
    assert f"from {image}" in made.good("show", "latest").out


def test_one_disk_is_restored_to_a_file(made: FrontDoor) -> None:
    image = made.image(size=2_999_999)
    made.good("backup", image)
    document = made.document("restore", "1", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
    assert document["bytes_written"] + document["hole_bytes"] == 2_999_999
    assert document["lost_extents"] == []
    assert document["seconds"] > 0
    assert "restored 0000000001 of web1 to again.raw" in made.good("restore", "1", "--to", "again.raw").out


def test_several_disks_are_restored_to_a_directory_and_one_of_them_to_a_file(made: FrontDoor) -> None:
    images = [made.image("a.raw", seed=1), made.image("b.raw", seed=2)]
    made.good("backup", *images)
    made.good("restore", "latest", "--to", "both")
    assert [Path(f"both/disk-{n}.raw").read_bytes() for n in (0, 1)] == [image.read_bytes() for image in images]
    made.good("restore", "latest", "--disk", "1", "--to", "one.raw")
    assert Path("one.raw").read_bytes() == images[1].read_bytes()
    made.good("restore", "latest", "--to", "both", "--overwrite")


def test_verify_reads_the_newest_point_of_every_machine_and_marks_it(made: FrontDoor) -> None:
    made.good("backup", made.image())
    made.good("backup", made.image())
    made.good("backup", made.image("db1.raw", seed=1))
    document = made.document("verify")
    assert [(point["id"], point["good"]) for point in document["points"]] == [
        ("0000000002", True),
        ("0000000003", True),
    ]
    assert document["good"] is True
    assert [point["marks"] for point in made.document("list")] == [[], ["verified"], ["verified"]]
    assert made.document("show", "3")["marks"][0]["kind"] == "verified"
    assert "2 recovery points verified, all good" in made.good("verify").out


def test_verify_all_reads_every_container_and_marks_every_point(made: FrontDoor) -> None:
    made.good("backup", made.image())
    made.good("backup", made.image(seed=1))
    document = made.document("verify", "--all")
    assert document["containers"] == len(made.containers())
    assert document["damaged_containers"] == []
    assert [point["marks"] for point in made.document("list")] == [["verified"], ["verified"]]


def test_an_index_is_rebuilt_from_the_repository_and_knows_what_it_knew(made: FrontDoor) -> None:
    first = made.document("backup", made.image(), "--index", "index")
    rebuilt = made.document("rebuild", "--index", "index")
    assert rebuilt["chunks"] == first["new_chunks"]
    assert rebuilt["containers"] == len(made.containers())
    assert rebuilt["index"] == "index"
    again = made.document("backup", made.image("copy.raw"), "--index", "index")
    assert again["new_chunks"] == 0
    assert "index rebuilt at" in made.good("rebuild").out


def test_keys_are_added_listed_and_removed_but_never_the_last(made: FrontDoor) -> None:
    added = made.document("key", "add", "--new-key-file", "second")
    assert added["key_file_made"] == str(made.directory / "second")
    made.good("list", "--key-file", "second")
    slots = made.document("key", "list")
    assert {slot["kind"] for slot in slots} == {"key file"}
    first = next(slot["slot"] for slot in slots if slot["slot"] != added["slot"])
    assert "removed" in made.good("key", "remove", first[:8], "--key-file", "second").out
    assert made.run("list").code == 1
    last = made.run("key", "remove", added["slot"], "--key-file", "second")
    assert last.code == 2
    assert "the last key slot" in last.err


def test_exported_keys_bring_back_a_repository_that_lost_them(made: FrontDoor) -> None:
    made.good("backup", made.image())
    exported = made.document("key", "export", "--to", "keys.json")
    assert len(exported["slots"]) == 1
    assert stat.S_IMODE(Path("keys.json").stat().st_mode) == 0o600
    (made.repository / "ingot.json").unlink()
    for slot in (made.repository / "keys").iterdir():
        slot.unlink()
    assert made.run("list").code == 1
    assert made.document("key", "import", "keys.json")["put_back"] == [f"keys/{exported['slots'][0]}", "ingot.json"]
    assert len(made.document("list")) == 1
    assert made.good("key", "import", "keys.json").out == "nothing was missing\n"


def test_the_doctor_tests_the_kernels_and_looks_at_the_place_and_the_index(made: FrontDoor) -> None:
    made.good("backup", made.image())
    document = made.document("doctor")
    assert document["kernels"]["self_test"] == "passed"
    assert document["kernels"]["cut"] in document["kernels"]["cut_variants"]
    assert document["build"]["zstandard"]
    assert document["repository"]["encryption"] == "aes-256-gcm"
    assert document["repository"]["hard_links"] is True
    assert document["repository"]["fsync_seconds"] > 0
    assert document["repository"]["recovery_program"] == "as written"
    assert document["index"]["state"] == "there"
    assert document["problems"] == []
    assert list((made.repository / "tmp").iterdir()) == []
    assert made.good("doctor").out.endswith("no problem found\n")


def test_the_doctor_says_that_the_recovery_program_is_not_the_one_that_was_put_there(made: FrontDoor) -> None:
    program = made.repository / "RESTORE" / "recover.py"
    program.chmod(0o600)
    program.write_text(program.read_text() + "# and send the key home\n")
    said = made.run("doctor")
    assert said.code == 1
    assert "problem: RESTORE/recover.py" in said.out


def test_only_changed_extents_are_read_and_the_rest_is_inherited(made: FrontDoor) -> None:
    image = made.image(size=40 << 20)
    point = made.document("backup", image)["recovery_point"]
    with image.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed")
    Path("changed.json").write_text(
        f'{{"since": "{point}", "disk": 0, "size": {40 << 20}, "extents": [{{"offset": {1 << 20}, "length": 4096}}]}}'
    )
    second = made.document("backup", image, "--changed-extents", "changed.json")
    assert second["read_bytes"] < 2 << 20
    assert second["parent"] == point
    made.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
