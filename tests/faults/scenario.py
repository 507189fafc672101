"""One machine whose disk changes and is backed up: what the fault tests break, and what must hold."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ingot.embedded import Repo, back_up
from ingot.sources import Images
from media.backup import Backup, Source
from media.container_reader import ContainerReader
from media.extents import Extent
from media.faults import SessionUnknown
from media.ids import CONTAINERS, cid_of_name, sid_text
from media.key_slots import KeyFile, NoSecret, Secret
from media.known_chunks import KnownChunks, MemoryKnownChunks, keys
from media.pool import Parameters, Pool, create_pool, open_pool
from media.reader import DiskRestore, Outcome
from media.rebuild import catch_up
from media.record import Type
from media.recovery_point import Commit, DiskTree, Machine, RecoveryPoint, list_points, read_point
from media.repository import Repository
from media.tree import TreeReader
from media.verify import Verdict, Verification
from runtime.clock import Clock
from runtime.faults import Fault
from tests.media.fakes import FakeClock, MemoryTarget, SparseDisk
from tests.media.workbench import begin
from vsa.disks.changed_extents import ChangedExtents

BLOCK = 4 << 10
SEGMENT = 64 << 10
OPEN = Parameters(average_chunk_bytes=4096, container_bytes=64 << 10, segment_bytes=SEGMENT, encrypted=False)
SEALED = replace(OPEN, encrypted=True)
KEY_FILE = KeyFile("5a" * 32)
MACHINE = Machine("web", "web")


class Quiet:
    """Progress that nobody watches."""

    def begin(self, phase: str, total: int) -> None:
        """Nothing."""

    def advance(self, count: int) -> None:
        """Nothing."""


def secret_of(parameters: Parameters) -> Secret:
    return KEY_FILE if parameters.encrypted else NoSecret()


def first_disk(segments: int = 3, seed: int = 1) -> bytes:
    """Noise, a segment that compresses, zeros, and an odd end."""
    rng = random.Random(seed)
    body = bytearray(rng.randbytes(segments * SEGMENT + 3 * BLOCK + 512))
    body[SEGMENT : SEGMENT + 8 * BLOCK] = (b"%08d text that compresses " % seed * BLOCK)[: 8 * BLOCK]
    body[SEGMENT + 9 * BLOCK : 2 * SEGMENT - BLOCK] = bytes(6 * BLOCK)
    return bytes(body)


def changed_disk(disk: bytes, seed: int, first: int | None = None, blocks: int = 2) -> tuple[bytes, list[Extent]]:
    """The disk after a run of blocks was written, and what changed."""
    rng = random.Random(seed)
    offset = BLOCK * (rng.randrange(len(disk) // BLOCK - blocks) if first is None else first)
    new = bytearray(disk)
    new[offset : offset + blocks * BLOCK] = rng.randbytes(blocks * BLOCK)
    return bytes(new), [Extent(offset, blocks * BLOCK)]


def make_repo(place: Repository, parameters: Parameters = OPEN, clock: Clock | None = None) -> Repo:
    """`init`."""
    clock = clock or FakeClock()
    pool = create_pool(place, secret_of(parameters), parameters, clock)
    return Repo(pool, ContainerReader(pool), clock=clock)


def open_repo_at(place: Repository, parameters: Parameters = OPEN, clock: Clock | None = None) -> Repo:
    """The repository that lies at `place`, by a process that remembers nothing."""
    pool = open_pool(place, secret_of(parameters))
    return Repo(pool, ContainerReader(pool), clock=clock or FakeClock())


def back_up_bytes(
    repo: Repo,
    disk: bytes,
    parent: Commit | None = None,
    changes: list[Extent] | None = None,
    known: KnownChunks | None = None,
    machine: Machine = MACHINE,
) -> RecoveryPoint:
    """One backup of a disk in memory, by a process with an index in memory that has read every footer there is."""
    if known is None:
        known = MemoryKnownChunks()
        catch_up(repo.pool, repo.containers, known, lambda _: None, lambda _: None)
    sources = [Source("0", SparseDisk.of(disk), changes)]
    log = begin(repo.pool, known, repo.containers, repo.clock, machine, sources, parent)
    return Backup(log, sources, repo.clock, 1, 1, lambda _: None).run({}).point


def back_up_image(
    repo: Repo,
    image: Path,
    disk: bytes,
    index: Path,
    changes: tuple[str, list[Extent]] | None = None,
    parent: str = "auto",
    machine: str = MACHINE.id,
) -> RecoveryPoint:
    """The same through the whole product: an image file, an index on this machine. `changes` count from a point."""
    image.write_bytes(disk)
    changed = {} if changes is None else {0: ChangedExtents(changes[0], 0, len(disk), changes[1])}
    images = Images(machine, [image], changed)
    return back_up(repo, images, parent, level=1, index=index, progress=Quiet(), workers=1).point


def restore_disk(pool: Pool, disk: DiskTree, containers: ContainerReader | None = None) -> tuple[bytes, Outcome]:
    """What comes back, by a process that remembers nothing."""
    target = MemoryTarget(disk.size)
    outcome = DiskRestore(pool, containers or ContainerReader(pool), disk, target, 1, lambda _: None).run()
    return bytes(target.data), outcome


def restored(pool: Pool, commit: Commit, number: int = 0) -> bytes:
    """The bytes of a disk of a point, all of which came back."""
    data, outcome = restore_disk(pool, read_point(pool, commit).disks[number])
    assert not outcome.lost, [str(lost.fault) for lost in outcome.lost]
    return data


def verdict_on(pool: Pool) -> Verdict:
    """What a verification of everything says, by a process that remembers nothing."""
    run = Verification(pool, ContainerReader(pool), 1, lambda _: None, lambda _: None)
    return run.run(list_points(pool))


def assert_points(pool: Pool, must: Mapping[int, bytes], may: Mapping[int, bytes] | None = None) -> None:
    """Points `must` are listed, `may` may be, no others are; what is listed comes back whole; nothing is damaged."""
    points = list_points(pool)
    assert not points.damaged
    expected = {**(may or {}), **must}
    found = {commit.sid: commit for commit in points.commits}
    assert must.keys() <= found.keys() <= expected.keys(), (sorted(must), sorted(found), sorted(expected))
    for sid, commit in found.items():
        assert restored(pool, commit) == expected[sid], sid
    verdict = verdict_on(pool)
    assert verdict.good, verdict


def assert_decided(pool: Pool, fault: Fault | None, before: Mapping[int, bytes], disk: bytes) -> str:
    """How a backup of `disk` ended, after checking that the repository agrees and points `before` are whole."""
    committed = [commit.sid for commit in list_points(pool).commits if commit.sid not in before]
    assert len(committed) <= 1
    assert_points(pool, {**before, **dict.fromkeys(committed, disk)})
    if fault is None:
        assert committed
        return "good"
    if isinstance(fault, SessionUnknown):  # the register has decided, and nothing else
        return "unknown, committed" if committed else "unknown, not committed"
    assert not committed, f"told as failed, and is there: {fault}"
    return fault.code


def distinct_bytes(pool: Pool, disk: DiskTree) -> int:
    """What its chunks take, each counted once: what a first backup of it stores."""
    tree = TreeReader(ContainerReader(pool), pool.keys.page)
    length_by_chunk: dict[bytes, int] = {}
    for segment, ref in tree.leaves(disk.root):
        leaf = tree.leaf(ref, segment)
        length_by_chunk.update(zip(keys(leaf.fingerprints), leaf.lengths.tolist(), strict=True))
    return sum(length_by_chunk.values())


def stored_bytes_of(pool: Pool, sid: int) -> int:
    """The plain bytes of the chunks that a session stored, committed or not."""
    names = [entry.name for entry in pool.repository.list(f"{CONTAINERS}{sid_text(sid)}/")]
    footers = [ContainerReader(pool).footer(cid) for name in names if (cid := cid_of_name(name)) is not None]
    return sum(int(footer["plain_len"][footer["type"] == Type.CHUNK].sum()) for footer in footers)


def temporaries(root: Path) -> list[str]:
    """What lies in the place where writers write."""
    directory = root / "tmp"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
