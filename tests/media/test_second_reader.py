"""The recovery program restores what the product wrote, and the product what was written by hand from the page."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from media import recover
from media.backup import Backup, Source
from media.container_reader import ContainerReader
from media.extents import Extent
from media.key_slots import KeyFile, NoSecret, Passphrase, Secret
from media.known_chunks import MemoryKnownChunks
from media.pool import Parameters, Pool, create_pool, open_pool
from media.reader import DiskRestore
from media.recovery_point import Machine, RecoveryPoint, list_points, read_point
from media.repository.local import LocalRepository
from media.verify import Verification
from tests.media.fakes import FakeClock, SparseDisk, SparseTarget
from tests.media.handmade_repository import (
    DESCRIPTION,
    DETAIL,
    PASSPHRASE,
    TIME,
    HandmadeDisk,
    HandmadeRepository,
    mac,
)
from tests.media.random_disks import random_image
from tests.media.workbench import begin, noise, text

SEGMENT = 32 << 20
KEY = "5a" * 32 + "\n"
CHEAP = {"name": "scrypt", "n": 2, "r": 1, "p": 1}


class Written:
    """A repository in a directory, and how the recovery program is asked for it."""

    def __init__(self, tmp_path: Path, secret: Secret, parameters: Parameters) -> None:
        self.pool = create_pool(LocalRepository(tmp_path / "repository"), secret, parameters, FakeClock())
        self.arguments = ["--repository", str(tmp_path / "repository")]
        self._known, self._containers = MemoryKnownChunks(), ContainerReader(self.pool)
        if not isinstance(secret, NoSecret):
            path = tmp_path / "secret"
            path.write_text(KEY if isinstance(secret, KeyFile) else "a passphrase\n")
            self.arguments += ["--key-file" if isinstance(secret, KeyFile) else "--passphrase-file", str(path)]

    def backup(self, sources: list[Source], parent: RecoveryPoint | None = None) -> RecoveryPoint:
        commit = None if parent is None else list_points(self.pool).find(parent.id)
        clock, machine = FakeClock(), Machine("vm-web", "web")
        log = begin(self.pool, self._known, self._containers, clock, machine, sources, commit)
        return Backup(log, sources, clock, 1, 2, lambda _: None).run({}).point


def holds(path: Path, disk: SparseDisk) -> bool:
    """Whether a file is the disk: its size, its data, and nothing but zeros in the blocks around."""
    if path.stat().st_size != disk.size:
        return False
    with path.open("rb") as file:
        for at, piece in disk.pieces.items():
            first = max(0, at - 9000)
            file.seek(first)
            length = min(len(piece) + 18_000, disk.size - first)
            if file.read(length) != disk.bytes(first, length):
                return False
    return path.stat().st_blocks * 512 <= sum(len(piece) + 8192 for piece in disk.pieces.values())


@pytest.mark.parametrize(
    "secret",
    [Passphrase("a passphrase", CHEAP), KeyFile(KEY), NoSecret()],
    ids=["passphrase", "key file", "no encryption"],
)
@pytest.mark.parametrize("container_bytes", [128 << 10, 32 << 20])
def test_the_recovery_program_restores_what_the_product_wrote(
    tmp_path: Path, secret: Secret, container_bytes: int
) -> None:
    parameters = Parameters(4096, container_bytes, encrypted=not isinstance(secret, NoSecret))
    written, rng = Written(tmp_path, secret, parameters), random.Random(3)
    disks = [
        SparseDisk(SEGMENT + 70_003, {0: random_image(rng, 200_000), SEGMENT - 5120: noise(1, 75_123)}),
        SparseDisk(SEGMENT * 300 + 1, {SEGMENT * 299: text(2, 30_000), SEGMENT * 300: b"!", 4096: noise(1, 9000)}),
        SparseDisk(123_456),
        SparseDisk(1, {0: b"x"}),
        SparseDisk(0),
    ]
    first = written.backup([Source(f"scsi0:{n}", disk) for n, disk in enumerate(disks)])
    restore_all(written, first, disks, tmp_path / "first")
    changed = [
        (SparseDisk(SEGMENT - 1000, disks[0].pieces), []),
        (SparseDisk(SEGMENT * 200, {4096: noise(7, 500)}), [Extent(4096, 9000)]),
        (SparseDisk(SEGMENT * 2, {0: noise(8, 5000)}), [Extent(0, 5000)]),
    ]
    changed[0][0].pieces[SEGMENT - 5120] = changed[0][0].pieces[SEGMENT - 5120][:4120]
    second = written.backup([Source(f"scsi0:{n}", disk, c) for n, (disk, c) in enumerate(changed)], first)
    restore_all(written, second, [disk for disk, _ in changed], tmp_path / "second")


def restore_all(written: Written, point: RecoveryPoint, disks: list[SparseDisk], to: Path) -> None:
    to.mkdir()
    assert recover.main([*written.arguments, point.id, "--to", str(to / "all")]) == 0
    files = sorted((to / "all").iterdir())
    assert len(files) == len(disks)
    for number, (disk, path) in enumerate(zip(disks, files, strict=True)):
        assert holds(path, disk), f"disk {number}"
        one = to / f"{number}.raw"
        assert recover.main([*written.arguments, point.id, "--disk", str(number), "--to", str(one)]) == 0
        assert holds(one, disk), f"disk {number}"


class Complete(HandmadeRepository):
    """With `data_bytes`, which a detail has and the recovery program does not ask for."""

    def write_point(
        self, sid: int, disks: list[HandmadeDisk], *, machine: str = "web", description: dict[str, Any] | None = None
    ) -> None:
        head = {"machine": {"id": f"vm-{machine}", "name": machine}, "parent": None, "time": TIME}
        rows = []
        for number, disk in enumerate(disks):
            depth, root = self.store_disk(sid, disk)
            row: dict[str, Any] = {"disk": number, "key": f"scsi0:{number}", "size": disk.size_bytes}
            row |= {"data_bytes": sum(map(len, disk.chunks.values())), "chunker": "s512/1", "depth": depth}
            row |= {"average_chunk_bytes": 65536, "chunking_key": "00" * 8, "change_id": None}
            row["root"] = root and {"page": root.fingerprint.hex(), "cid": f"{root.cid:016x}", "slot": root.slot}
            rows.append(row)
        plain = json.dumps(head | {"disks": rows, "description": description or {}, "statistics": {}}).encode()
        fingerprint = mac(self.key["page"], plain)
        body = self.key_table() + self.record(DESCRIPTION, plain, fingerprint)
        self.write_frame(f"rpd/{sid:010x}", DETAIL, body)
        self.write_register(sid, head | {"kind": "commit", "nonce": "00" * 16, "detail": fingerprint.hex()})


def opened(repository: HandmadeRepository, secret: Secret) -> Pool:
    return open_pool(LocalRepository(repository.root / "repository"), secret)


@pytest.mark.parametrize("kind", ["passphrase", "pbkdf2", "key file", "none"])
@pytest.mark.parametrize("segments", [1, 256, 257, 65537])
def test_the_product_restores_what_was_written_by_hand(tmp_path: Path, kind: str, segments: int) -> None:
    repository = Complete(tmp_path, kind)
    last = (segments - 1) * SEGMENT
    chunks = {last + 4096: noise(1, 3000), last + 7096: b"text " * 900, last + SEGMENT - 512: noise(2, 512)}
    chunks |= {0: noise(3, 500)}
    disks = [HandmadeDisk(segments * SEGMENT, chunks), HandmadeDisk(777, {}), HandmadeDisk(5, {0: b"five!"})]
    repository.write_point(26, disks, description={"cores": 2})
    repository.write_point(27, disks[1:], machine="db")
    repository.write_register(28, {"kind": "tombstone", "nonce": "", "reason": "", "time": ""})
    repository.write_expiry(27)
    pool = opened(repository, secret_of(repository, kind))
    assert [commit.sid for commit in list_points(pool).commits] == [26]
    point = read_point(pool, list_points(pool).find("latest:web"))
    for disk, tree in zip(disks, point.disks, strict=True):
        target = SparseTarget()
        outcome = DiskRestore(pool, ContainerReader(pool), tree, target, 2, lambda _: None).run()
        assert not outcome.lost
        restored = SparseDisk(disk.size_bytes, target.pieces)
        assert sum(map(len, target.pieces.values())) == sum(map(len, disk.chunks.values()))
        for at, plain in disk.chunks.items():
            assert restored.bytes(at, len(plain)) == plain
    assert Verification(pool, ContainerReader(pool), 2, lambda _: None, lambda _: None).run(list_points(pool)).good


def secret_of(repository: HandmadeRepository, kind: str) -> Secret:
    if kind == "none":
        return NoSecret()
    path = Path(repository.arguments[repository.arguments.index("--repository") + 3])
    return KeyFile(path.read_text()) if kind == "key file" else Passphrase(PASSPHRASE)
