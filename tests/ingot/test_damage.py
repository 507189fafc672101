"""What is lost is named, the rest comes back, and the next backup stores it again."""

from __future__ import annotations

from pathlib import Path

from tests.ingot.front_door import FrontDoor


def flip(path: Path, offset: int) -> None:
    """Change one bit."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def largest(door: FrontDoor) -> Path:
    """The container with the most data."""
    return max(door.containers(), key=lambda path: path.stat().st_size)


def test_a_flipped_bit_costs_a_chunk_and_the_restore_names_it(made: FrontDoor) -> None:
    image = made.image(size=9_000_000)
    made.good("backup", image)
    flip(largest(made), 1_000_000)
    said = made.run("restore", "1", "--to", "back.raw", "--json")
    assert said.code == 3
    (lost,) = said.json["lost_extents"]
    assert lost["disk"] == 0
    assert lost["code"] == "media.record_corrupt"
    assert "c-1." in lost["reason"]
    back, original = Path("back.raw").read_bytes(), image.read_bytes()
    end = lost["offset"] + lost["length"]
    assert back[lost["offset"] : end] == bytes(lost["length"])
    assert back[: lost["offset"]] == original[: lost["offset"]]
    assert back[end:] == original[end:]
    plain = made.run("restore", "1", "--to", "again.raw")
    assert plain.code == 3
    assert f"lost: disk 0: {lost['length']} bytes at {lost['offset']}: {lost['reason']}" in plain.out


def test_after_verification_found_damage_the_next_backup_is_whole_again(made: FrontDoor) -> None:
    image = made.image(size=9_000_000)
    made.good("backup", image)
    flip(largest(made), 1_000_000)
    said = made.run("verify", "--json")
    assert said.code == 3
    assert said.json["good"] is False
    assert said.json["points"][0]["lost_extents"][0]["code"] == "media.record_corrupt"
    assert made.document("list")[0]["marks"] == ["suspect"]
    again = made.document("backup", image)
    assert again["parent"] is None
    assert again["new_chunks"] > 0
    assert any("marked suspect" in note for note in again["notes"])
    made.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
    made.good("verify")


def test_verify_all_marks_every_point_that_is_hit(made: FrontDoor) -> None:
    image = made.image(size=9_000_000)
    made.good("backup", image)
    made.good("backup", image)
    made.good("backup", made.image("other.raw", seed=9))
    flip(next(path for path in made.containers() if path.stat().st_size > 5_000_000), 1_000_000)
    said = made.run("verify", "--all")
    assert said.code == 3
    assert "DAMAGED" in said.out
    assert "damaged: c-1." in said.out
    assert [point["marks"] for point in made.document("list")] == [["suspect"], ["suspect"], ["verified"]]


def test_a_container_that_went_away_is_not_referred_to_by_the_next_backup(made: FrontDoor) -> None:
    image = made.image(size=9_000_000)
    made.good("backup", image)
    largest(made).unlink()
    said = made.document("backup", image, "--parent", "none")
    assert any("are gone; their chunks are stored again" in note for note in said["notes"])
    made.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()


def test_a_damaged_register_is_listed_and_hides_no_other_point(made: FrontDoor) -> None:
    image = made.image()
    made.good("backup", image)
    made.good("backup", image)
    flip(made.repository / "rp" / "0000000001", 30)
    said = made.run("list", "--json")
    assert said.code == 3
    assert [point["id"] for point in said.json] == ["0000000001", "0000000002"]
    assert "fault" in said.json[0]
    plain = made.run("list")
    assert plain.code == 3
    assert "DAMAGED" in plain.out
    assert "note: 0000000001 cannot be read" in plain.err
    assert made.run("show", "1").code == 1
    made.good("restore", "2", "--to", "back.raw")
    assert made.run("verify").code == 3


def test_a_damaged_detail_costs_its_own_point_only(made: FrontDoor) -> None:
    image = made.image()
    made.good("backup", image)
    made.good("backup", image)
    flip(made.repository / "rpd" / "0000000002", 60)
    assert made.run("list").code == 3
    assert made.run("restore", "2", "--to", "x").code == 1
    made.good("restore", "1", "--to", "x")
    said = made.document("backup", image)
    assert said["parent"] is None
    assert any("because it is damaged" in note for note in said["notes"])


def test_a_lost_or_lying_index_costs_no_backup(made: FrontDoor) -> None:
    image = made.image()
    made.good("backup", image, "--index", "index")
    Path("index/data.mdb").write_bytes(b"not a database" * 5000)
    said = made.document("backup", made.image("copy.raw"), "--index", "index")
    assert said["new_chunks"] == 0  # caught up from the repository
    assert any("rebuilt" in note for note in said["notes"])
    made.good("init", "--repository", "other", "--key-file", "k2")
    foreign = made.document("backup", image, "--index", "index", "--repository", "other", "--key-file", "k2")
    assert any("the index cannot be used" in note for note in foreign["notes"])
    refused = made.run("rebuild", "--index", "index", "--repository", "other", "--key-file", "k2")
    assert refused.code == 1
    made.good("restore", "latest", "--to", "back.raw")
