"""Where an index lies, and where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediaagent.ddb import directory
from mediaagent.ddb.directory import default_directory, filesystem_kind, prepare
from mediaagent.ddb.faults import DdbUnavailable

UUID = bytes(range(16))
NAME = "00010203-0405-0607-0809-0a0b0c0d0e0f"
MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /srv rw,relatime shared:1 master:2 - nfs4 filer:/srv rw
24 23 8:1 / /srv/local\040disk rw - xfs /dev/sda1 rw
25 22 8:2 / /mnt rw - ext4 /dev/sdb rw
26 25 0:30 / /mnt rw - fuse.sshfs host: rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/deep/er", "nfs4"),
        ("/srvother", "ext4"),
        ("/srv/local disk/index", "xfs"),
        ("/mnt/a", "fuse.sshfs"),
    ],
)
def test_the_deepest_and_last_mount_says_the_kind(path: str, kind: str) -> None:
    assert filesystem_kind(Path(path), MOUNTS) == kind


def test_without_a_table_the_kind_is_unknown() -> None:
    assert filesystem_kind(Path("/srv"), "") == ""


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 254:0 / / rw - ext4 /dev/vda rw\n23 22 0:2 / {tmp_path.resolve()} rw - nfs4 filer:/ rw\n")
    monkeypatch.setattr(directory, "_MOUNTS", table)
    with pytest.raises(DdbUnavailable, match="lies on nfs4"):
        prepare(tmp_path / "index")


def test_the_directory_is_its_owners_alone(tmp_path: Path) -> None:
    prepare(tmp_path / "index")
    assert (tmp_path / "index").stat().st_mode & 0o777 == 0o700


def test_the_default_place_is_the_state_directory_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert default_directory(UUID) == Path("/var/state/ingot") / NAME
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_directory(UUID) == Path("/home/x/.local/state/ingot") / NAME
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_directory(UUID) == Path("/home/x/.local/state/ingot") / NAME
