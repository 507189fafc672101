"""Makes the golden repositories of format 1: `python -m tests.golden.make`, from the top of the work tree.

They stay readable for ever (F3). The format freezes with the first release; until then these files are remade in the
same commit as a change of the format, and never otherwise. RESTORE/ is left out: the program changes, the format does
not.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from media import frame
from media.backup import Backup, Source
from media.container_reader import ContainerReader
from media.extents import Extent
from media.key_slots import KeyFile, NoSecret, Passphrase
from media.known_chunks import MemoryKnownChunks
from media.marks import MarkKind, put_mark
from media.pool import Parameters, Pool, add_slot, create_pool
from media.recovery_point import Machine, read_commit
from media.repository.memory import MemoryRepository
from media.session import Process, Session
from tests.media.fakes import FakeClock, SparseDisk
from tests.media.workbench import begin, noise, seeded, text

HERE = Path(__file__).parent
PASSPHRASE = "golden pa\N{LATIN SMALL LETTER SHARP S}phrase"
KEY_FILE = "0123456789abcdef" * 4 + "\n"
SEGMENT = 32 << 20


def first_disk(day: int) -> SparseDisk:
    """Two segments, holes, chunks of either codec, a size that is no multiple of anything; it changes a little."""
    pieces = {0: noise(1, 700), 4096: text(1, 5000), SEGMENT - 4096: noise(2 + day, 800), SEGMENT: noise(1, 700)}
    return SparseDisk(SEGMENT + 18_000 + 333, pieces | {SEGMENT + 16384: text(9, 1949)})


def second_disk() -> SparseDisk:
    """Deeper than one level of interior pages."""
    return SparseDisk(257 * SEGMENT + 1, {0: text(3, 700), 256 * SEGMENT + 8192: noise(4, 600), 257 * SEGMENT: b"!"})


def fill(pool: Pool, clock: FakeClock) -> None:
    """Two points of one machine, a mark; a session that was aborted; a point that expired."""
    known, containers = MemoryKnownChunks(), ContainerReader(pool)

    def backup(machine: Machine, sources: list[Source], parent: int | None) -> int:
        clock.seconds += 3600
        commit = None if parent is None else read_commit(pool, parent)
        log = begin(pool, known, containers, clock, machine, sources, commit)
        run = Backup(log, sources, clock, 1, 1, lambda _: None)
        return run.run({"firmware": "uefi", "name": machine.name}).point.sid

    web, database = Machine("52 1a", "web"), Machine("52 1b", "d\N{LATIN SMALL LETTER U WITH DIAERESIS}b")
    first = backup(web, [Source("scsi0:0", first_disk(0)), Source("scsi0:1", second_disk(), change_id="52 de/3")], None)
    Session.begin(pool, clock, Process("golden", 1)).abort("golden")
    changes = [Extent(SEGMENT - 4096, 4096)]
    second = backup(web, [Source("scsi0:0", first_disk(1), changes), Source("scsi0:1", second_disk(), [])], first)
    put_mark(pool, second, MarkKind.HOLD, "somebody", "golden", clock)
    backup(database, [Source("scsi0:0", SparseDisk(0)), Source("scsi0:1", SparseDisk(5000))], None)
    expired = backup(database, [], None)
    name = f"rpx/{expired:010x}"
    body = {"time": clock.now(), "who": "golden"}
    pool.repository.put_new(name, frame.encode_json(pool.keys, frame.Kind.EXPIRY, name, body))


def make(path: Path, *, sealed: bool) -> None:
    """One repository as a compressed tar."""
    memory, clock = MemoryRepository(), FakeClock()
    kdf = {"name": "scrypt", "n": 16, "r": 8, "p": 1}
    with seeded(7 if sealed else 8):
        secret = Passphrase(PASSPHRASE, kdf) if sealed else NoSecret()
        parameters = Parameters(average_chunk_bytes=4096, container_bytes=64 << 10, encrypted=sealed)
        pool = create_pool(memory, secret, parameters, clock)
        if sealed:
            add_slot(pool, KeyFile(KEY_FILE), clock)
        fill(pool, clock)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for entry in memory.list(""):
            if not entry.name.startswith("RESTORE/"):
                member = tarfile.TarInfo(entry.name)
                member.size = entry.size
                tar.addfile(member, io.BytesIO(memory.get(entry.name)))
    path.write_bytes(gzip.compress(raw.getvalue(), mtime=0))


if __name__ == "__main__":
    make(HERE / "format-1-sealed.tar.gz", sealed=True)
    make(HERE / "format-1-unsealed.tar.gz", sealed=False)
