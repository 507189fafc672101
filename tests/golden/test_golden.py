"""F3: repositories of every released format stay readable, by the product and by the recovery program.

Format 1 freezes with the first release; until then these files are remade (tests/golden/make.py) in the commit that
changes it.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from media import recover
from media.container_reader import ContainerReader
from media.key_slots import KeyFile, NoSecret, Passphrase, Secret
from media.marks import MarkKind, read_marks
from media.pool import Pool, open_pool
from media.reader import DiskRestore
from media.recovery_point import list_points, read_point
from media.repository.local import LocalRepository
from media.verify import Verification
from tests.golden.make import KEY_FILE, PASSPHRASE, SEGMENT
from tests.media.fakes import SparseTarget

# SHA-256 of the first disk whole, and of the first and last mebibyte of the second, by point.
FIRST = {
    1: "62fd220f1aed8b424c5b6aff2e1d5ea5e7deb00f599878af1af4292f72affeea",
    3: "fae8ee7bb975c96f7eaf79438852186f8b6b4ae34eaf317b8d65afe46a6a4c8f",
}
SECOND_ENDS = "f6dfe80abb0a03d9844b3a5a415d9129a33825c2f1fd4d7ca950bb6b17e964e8"
EVERY = pytest.mark.parametrize(
    ("name", "secret", "option"),
    [
        ("format-1-sealed", Passphrase(PASSPHRASE), ["--passphrase-file", PASSPHRASE]),
        ("format-1-sealed", KeyFile(KEY_FILE), ["--key-file", KEY_FILE]),
        ("format-1-unsealed", NoSecret(), []),
    ],
    ids=["passphrase", "key file", "unsealed"],
)


@pytest.fixture
def root(name: str, tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).parent / f"{name}.tar.gz") as tar:
        tar.extractall(tmp_path / "repository", filter="data")
    return tmp_path / "repository"


def digest_of_ends(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(1 << 20)
        file.seek(-(1 << 20), 2)
        return hashlib.sha256(head + file.read()).hexdigest()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_disk(pool: Pool, sid: int, number: int, path: Path) -> None:
    points = list_points(pool)
    disk = read_point(pool, points.find(f"{sid:x}")).disks[number]
    target = SparseTarget()
    outcome = DiskRestore(pool, ContainerReader(pool), disk, target, 2, lambda _: None).run()
    assert not outcome.lost
    with path.open("wb") as file:
        file.truncate(disk.size)
        for offset, piece in target.pieces.items():
            file.seek(offset)
            file.write(piece)


@EVERY
def test_the_product_restores_what_was_written_then(
    name: str, secret: Secret, option: list[str], root: Path, tmp_path: Path
) -> None:
    pool = open_pool(LocalRepository(root), secret)
    points = list_points(pool)
    assert [commit.sid for commit in points.commits] == [1, 3, 4]
    assert points.damaged == {}
    assert points.find("latest:web").sid == 3
    assert [mark.kind for mark in read_marks(pool, 3)] == [MarkKind.HOLD]
    assert read_point(pool, points.find("3")).description == {"firmware": "uefi", "name": "web"}
    for sid, expected in FIRST.items():
        write_disk(pool, sid, 0, tmp_path / "disk")
        assert digest(tmp_path / "disk") == expected
        write_disk(pool, sid, 1, tmp_path / "disk")
        assert digest_of_ends(tmp_path / "disk") == SECOND_ENDS
        assert (tmp_path / "disk").stat().st_size == 257 * SEGMENT + 1
    write_disk(pool, 4, 1, tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == bytes(5000)


@EVERY
def test_all_of_it_is_found_good(name: str, secret: Secret, option: list[str], root: Path) -> None:
    pool = open_pool(LocalRepository(root), secret)
    verification = Verification(pool, ContainerReader(pool), 2, lambda _: None, lambda _: None)
    assert verification.run(list_points(pool)).good


@EVERY
def test_the_recovery_program_restores_what_was_written_then(
    name: str, secret: Secret, option: list[str], root: Path, tmp_path: Path
) -> None:
    arguments = ["--repository", str(root)]
    if option:
        (tmp_path / "secret").write_text(option[1])
        arguments += [option[0], str(tmp_path / "secret")]
    for sid, expected in FIRST.items():
        assert recover.main([*arguments, f"{sid:x}", "--to", str(tmp_path / f"{sid}")]) == 0
        disks = sorted((tmp_path / f"{sid}").iterdir())
        assert [digest(disks[0]), digest_of_ends(disks[1])] == [expected, SECOND_ENDS]
