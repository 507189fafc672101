"""A directory of images as a hypervisor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from media.faults import DiskUnreadable
from runtime.clock import SystemClock
from tests.vsa.hypervisors.purposes import purpose
from vsa.discovery import encode
from vsa.faults import HypervisorUnreachable, ImageChanged, MachineMissing, MachineUnfit
from vsa.hypervisors import DiskSeen, MachineSeen
from vsa.hypervisors.images import ImagesHypervisor


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("web1.raw", "shop/db1/disk-1.raw", "shop/db1/disk-0.raw", "shop/db2/system.img"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def lab(root: Path) -> ImagesHypervisor:
    return ImagesHypervisor("lab", root, SystemClock())


def machines(root: Path) -> dict[str, MachineSeen]:
    return {machine.id: machine for machine in lab(root).discover()}


def describe(path: Path, **members: object) -> None:
    path.write_text(json.dumps(members))


def test_files_and_folders_of_images_are_machines(root: Path) -> None:
    found = machines(root)
    assert list(found) == ["lab:web1.raw", "lab:shop:db1", "lab:shop:db2"]
    assert found["lab:web1.raw"] == MachineSeen(
        "lab:web1.raw", "web1", disks=(DiskSeen("web1.raw", "web1.raw", 8),), attributes={}
    )
    db1 = found["lab:shop:db1"]
    assert (db1.name, db1.folder, [disk.key for disk in db1.disks]) == ("db1", "shop", ["disk-0.raw", "disk-1.raw"])


def test_a_description_says_what_a_path_cannot(root: Path) -> None:
    describe(
        root / "shop/db1/machine.json",
        id="4b0c",
        name="Database",
        folder="prod",
        tags=["gold"],
        power_state="off",
        custom_attributes={"owner": "shop"},
    )
    describe(root / "web1.json", tags=["web"])
    found = machines(root)
    db1 = found["4b0c"]
    assert (db1.name, db1.folder, db1.tags, db1.power_state) == ("Database", "prod", ("gold",), "off")
    assert db1.attributes == {"owner": "shop"}
    assert found["lab:web1.raw"].tags == ("web",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "expected JSON"),
        ("[]", "expected a JSON object"),
        ('{"naem": "x"}', "naem: no such member; there are id, name"),
        ('{"name": 1}', "name: expected a text"),
        ('{"name": ""}', "name: expected a text"),
        ('{"tags": ["a", 2]}', r"tags[1]: expected a text"),
        ('{"power_state": "up"}', "power_state: expected one of on, off"),
        ('{"custom_attributes": {"a": 1}}', "custom_attributes.a: expected a text"),
    ],
)
def test_a_wrong_description_is_shown_and_that_machine_is_not_protected(root: Path, text: str, reason: str) -> None:
    (root / "web1.json").write_text(text)
    machine = machines(root)["lab:web1.raw"]
    assert reason in str(machine.reason)
    with (
        pytest.raises(MachineUnfit, match=r"web1\.json"),
        lab(root).hold(machine.id, purpose()),
    ):
        pass


def test_of_two_machines_that_say_one_id_the_second_is_not_protected(root: Path) -> None:
    describe(root / "shop/db1/machine.json", id="same")
    describe(root / "shop/db2/machine.json", id="same")
    found = machines(root)
    assert found["same"].name == "db1"
    assert "also that of" in str(found["lab:shop:db2"].reason)


def test_links_are_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.raw").write_bytes(b"secret")
    (root / "link.raw").symlink_to(outside / "secret.raw")
    (root / "shop/link").symlink_to(outside)
    assert len(machines(root)) == 3


def test_an_empty_image_is_shown_with_the_reason(root: Path) -> None:
    (root / "shop/db1/disk-1.raw").write_bytes(b"")
    assert "found 0 bytes" in str(machines(root)["lab:shop:db1"].reason)


def test_a_held_machine_gives_its_disks_in_order_and_closes_them(root: Path) -> None:
    with lab(root).hold("lab:shop:db1", purpose()) as held:
        disks = [source.disk for source in held.sources({})]
        assert [source.key for source in held.sources({})] == ["disk-0.raw", "disk-1.raw"]
        buffer = bytearray(disks[0].size)
        disks[0].read_into(0, memoryview(buffer))
        assert buffer == b"shop/db1/disk-0.raw"
        assert held.description["machine"]["name"] == "db1"
    with pytest.raises(DiskUnreadable):
        disks[0].read_into(0, memoryview(buffer))


def test_writing_to_a_held_machine_is_noticed(root: Path) -> None:
    with lab(root).hold("lab:web1.raw", purpose()) as held:
        os.utime(root / "web1.raw", ns=(1, 1))
        with pytest.raises(ImageChanged):
            held.sources({})[0].disk.check()


def test_a_machine_that_is_gone_is_missing(root: Path) -> None:
    with (
        pytest.raises(MachineMissing, match=r"lab:web9\.raw"),
        lab(root).hold("lab:web9.raw", purpose()),
    ):
        pass


def test_a_directory_that_is_gone_is_unreachable(root: Path) -> None:
    with pytest.raises(HypervisorUnreachable, match="nowhere"):
        list(ImagesHypervisor("lab", root / "nowhere", SystemClock()).discover())


@pytest.mark.parametrize("name", [b"odd\xff.raw", b"shop/db\xff/disk-0.raw", b"shop/db1/disk\xff.raw"])
def test_a_name_that_is_no_text_takes_its_machine_alone_out(root: Path, name: bytes) -> None:
    """A machine without one of its disks would be half a machine, so all of it is left out, and the others are not."""
    path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"a disk")
    found = list(lab(root).discover())
    told = [encode(machine) for machine in found]
    (odd,) = [machine for machine in told if not machine.protectable]
    assert odd.reason == f"{os.fsencode(path).decode(errors='replace')}: a name that is no UTF-8"
    assert {machine.id for machine in found if machine.reason is None} == {
        "lab:web1.raw",
        "lab:shop:db1",
        "lab:shop:db2",
    } - {odd.id}
    with pytest.raises(MachineUnfit, match="no UTF-8"), lab(root).hold(odd.id, purpose()):
        raise AssertionError("held")
