"""What the index keeps beyond the port: durability, sharing, and that nothing it suffers reaches a backup."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import numpy as np
import pytest

import mediaagent
from media.ids import cid_of
from mediaagent.ddb.chunk_index import ChunkIndex, open_index
from mediaagent.ddb.faults import DdbCorrupt, DdbForeign, DdbFull, DdbUnavailable
from mediaagent.ddb.opening import Limits

ROOT = Path(mediaagent.__file__).parent.parent
UUID = bytes(range(16))
FOREIGN = bytes(16)
EVERY = np.random.default_rng(7).integers(0, 256, (4000, 32), dtype=np.uint8)
PRELUDE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
import numpy as np
from mediaagent.ddb.chunk_index import open_index
from mediaagent.ddb.opening import Limits
EVERY = np.random.default_rng(7).integers(0, 256, (4000, 32), dtype=np.uint8)
directory, UUID = Path(sys.argv[1]), bytes(range(16))
def say(*what): print(*what, flush=True)
"""


def cids_of(index: ChunkIndex, fingerprints: np.ndarray = EVERY) -> set[int]:
    return set(index.locate(fingerprints).cids.tolist())


def fill(directory: Path) -> None:
    with open_index(directory, UUID) as index:
        for seq in range(8):
            index.record(cid_of(1, seq), EVERY[seq * 500 : seq * 500 + 500])


@contextmanager
def process(code: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process of the host; it says one line when it is ready."""
    command = [sys.executable, "-c", PRELUDE + code, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            yield other
        finally:
            other.kill()


def said(other: subprocess.Popen[str]) -> str:
    assert other.stdout is not None
    return other.stdout.readline().strip()


def tell(other: subprocess.Popen[str]) -> None:
    assert other.stdin is not None
    other.stdin.write("\n")
    other.stdin.flush()


def test_what_was_recorded_and_forgotten_is_so_after_reopening(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_index(tmp_path, UUID) as index:
        index.forget([cid_of(1, 3)], generation=5)
    with open_index(tmp_path, UUID) as index:
        assert index.notes == []
        assert cids_of(index) == {0} | {cid_of(1, seq) for seq in range(8) if seq != 3}
        assert index.containers() == {cid_of(1, seq) for seq in range(8) if seq != 3}
        assert index.generation() == 5
        index.record(cid_of(1, 3), EVERY[:500])
        assert cids_of(index, EVERY[:500]) == {cid_of(1, 0)}, "a number that is gone never comes back"


def test_a_generation_counts_before_it_is_durable_and_never_goes_back(tmp_path: Path) -> None:
    with open_index(tmp_path, UUID) as index:
        index.forget([], generation=7)
        assert index.generation() == 7
        index.flush()
        index.forget([], generation=3)
        index.flush()
        assert index.generation() == 7


def test_the_newest_place_of_a_chunk_is_answered(tmp_path: Path) -> None:
    with open_index(tmp_path, UUID) as index:
        index.record(cid_of(1, 0), EVERY[:10])
        index.flush()
        index.record(cid_of(2, 0), EVERY[:5])
        assert index.locate(EVERY[:10]).cids.tolist() == [cid_of(2, 0)] * 5 + [cid_of(1, 0)] * 5
        index.flush()
        assert index.locate(EVERY[:10]).cids.tolist() == [cid_of(2, 0)] * 5 + [cid_of(1, 0)] * 5


def test_a_fingerprint_that_shares_its_key_with_another_is_a_miss(tmp_path: Path) -> None:
    other = EVERY[:1].copy()
    other[0, 16:] ^= 255
    with open_index(tmp_path, UUID) as index:
        index.record(cid_of(1, 0), EVERY[:1])
        assert cids_of(index, other) == {0}
        index.flush()
        assert cids_of(index, other) == {0}
        assert cids_of(index, EVERY[:1]) == {cid_of(1, 0)}


def test_a_closed_index_answers_with_misses_and_closes_twice(tmp_path: Path) -> None:
    index = open_index(tmp_path, UUID)
    index.record(cid_of(1, 0), EVERY[:5])
    index.close()
    index.close()
    index.record(cid_of(1, 1), EVERY[5:9])
    index.forget([cid_of(1, 0)])
    index.flush()
    assert (cids_of(index), index.containers(), index.generation()) == ({0}, set(), 0)


def test_an_index_opened_twice_in_one_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with open_index(tmp_path, UUID) as index:
        with pytest.raises(DdbUnavailable, match="already open"):
            open_index(tmp_path, UUID)
        index.record(cid_of(1, 0), EVERY[:5])
    with open_index(tmp_path, UUID) as index:
        assert index.notes == []
        assert cids_of(index, EVERY[:5]) == {cid_of(1, 0)}


def test_a_child_after_fork_gets_misses(tmp_path: Path) -> None:
    with open_index(tmp_path, UUID) as index:
        index.record(cid_of(1, 0), EVERY[:5])
        if not (child := os.fork()):
            os._exit(0 if cids_of(index, EVERY[:5]) == {0} else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert cids_of(index, EVERY[:5]) == {cid_of(1, 0)}


def test_two_processes_see_what_the_other_flushed_and_forgot(tmp_path: Path) -> None:
    code = """
with open_index(directory, UUID) as index:
    index.record(1 << 24, EVERY[:100])
    index.flush()
    say("ready", index.notes)
    input()
    say(sorted(index.containers()), set(index.locate(EVERY[100:200]).cids.tolist()))
    index.forget([2 << 24])
    index.flush()
    say("forgot")
    input()
"""
    with open_index(tmp_path, UUID) as index, process(code, tmp_path) as other:
        assert said(other) == "ready []"
        assert cids_of(index, EVERY[:100]) == {1 << 24}
        index.record(2 << 24, EVERY[100:200])
        index.flush()
        tell(other)
        assert said(other) == f"{[1 << 24, 2 << 24]} {{{2 << 24}}}"
        assert said(other) == "forgot"
        assert cids_of(index, EVERY[:200]) == {0, 1 << 24}
        assert index.containers() == {1 << 24}
        tell(other)
        assert other.wait() == 0
    assert (tmp_path / "clean").exists()


def test_a_writer_killed_in_the_middle_leaves_an_index_that_is_checked_and_kept(tmp_path: Path) -> None:
    code = """
index = open_index(directory, UUID, Limits(batch_keys=10, batch_seconds=0))
index.record(1 << 24, EVERY[:100])
index.flush()
say("durable")
for seq in range(1, 10**6):
    index.record((1 << 24) + seq, np.random.default_rng(seq).integers(0, 256, (50, 32), dtype=np.uint8))
"""
    with process(code, tmp_path) as other:
        assert said(other) == "durable"
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert not (tmp_path / "clean").exists()
    with open_index(tmp_path, UUID) as index:
        assert index.notes == []
        assert cids_of(index, EVERY[:100]) == {1 << 24}
        index.record(2 << 24, EVERY[100:200])
    assert (tmp_path / "clean").exists()


def test_the_last_to_close_does_not_seal_over_the_death_of_another(tmp_path: Path) -> None:
    with open_index(tmp_path, UUID):
        with process("index = open_index(directory, UUID)\nsay('open')\ninput()", tmp_path) as other:
            assert said(other) == "open"
        with process("open_index(directory, UUID).close()\nsay('closed')", tmp_path) as third:
            assert said(third) == "closed"
    assert not (tmp_path / "clean").exists()
    with open_index(tmp_path, UUID) as index:
        assert index.notes == []
    assert (tmp_path / "clean").exists()


def truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    return bytes(len(data))


def torn(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(2, len(data) // 4096) * 4096
    return data[:at] + rng.randbytes(4096) + data[at + 4096 :]


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(200):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("damage", [truncated, zeroed, torn, flipped])
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_file_never_ends_the_process(tmp_path: Path, damage: object, seed: int) -> None:
    fill(tmp_path)
    data = tmp_path / "data.mdb"
    data.write_bytes(damage(data.read_bytes(), random.Random(seed)))  # type: ignore[operator]
    with open_index(tmp_path, UUID) as index:  # found, rebuilt; or where no page is used: as it was
        assert cids_of(index) <= {0} | {cid_of(1, seq) for seq in range(8)}
        index.record(cid_of(2, 0), EVERY)
    with open_index(tmp_path, UUID) as index:
        assert index.notes == []
        assert cids_of(index) == {cid_of(2, 0)}


@pytest.mark.parametrize("content", [b"", bytes(8192), bytes(range(256)) * 64], ids=["empty", "zeros", "noise"])
def test_a_file_that_is_no_database_is_rebuilt_empty_with_a_note(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path)
    (tmp_path / "data.mdb").write_bytes(content)
    with open_index(tmp_path, UUID) as index:
        assert [note for note in index.notes if "rebuilt empty: data.mdb changed since it was closed" in note]
        assert index.containers() == set()


def test_damage_after_a_stop_that_was_not_clean_is_found(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "clean").unlink()
    with (tmp_path / "data.mdb").open("r+b") as data:
        data.truncate(16384)
    with open_index(tmp_path, UUID) as index:
        assert [note for note in index.notes if "rebuilt empty: it was not closed; " in note]


def test_a_check_that_takes_too_long_ends_in_an_empty_index(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "clean").unlink()
    with open_index(tmp_path, UUID, Limits(check_seconds=0.0)) as index:
        assert [note for note in index.notes if "not checked within 0 s" in note]
        assert index.containers() == set()


def test_a_row_of_another_length_is_a_fault_and_a_miss(tmp_path: Path) -> None:
    fill(tmp_path)
    with lmdb.open(str(tmp_path), max_dbs=3) as environment:
        fp = environment.open_db(b"fp")
        with environment.begin(write=True) as transaction:
            transaction.put(EVERY[0, :16].tobytes(), b"short", db=fp)
    with open_index(tmp_path, UUID) as index:
        assert cids_of(index, EVERY[:10]) == {0}
        assert isinstance(index.fault, DdbCorrupt)
        assert cids_of(index, EVERY[10:20]) == {0}
        index.record(cid_of(2, 0), EVERY[:10])
        index.flush()
    assert not (tmp_path / "clean").exists(), "who saw a fault does not seal"


def test_an_index_of_another_repository_is_refused_and_left_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(DdbForeign, match="expected 00000000-"):
        open_index(tmp_path, FOREIGN)
    assert (tmp_path / "data.mdb").read_bytes() == before
    with open_index(tmp_path, UUID) as index:
        assert index.notes == []
        assert 0 not in cids_of(index)


def test_a_database_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"somebody's")
    with pytest.raises(DdbForeign, match="not an index of ours"):
        open_index(tmp_path, UUID)
    assert (tmp_path / "data.mdb").read_bytes() == b"somebody's"


def test_a_data_file_copied_from_another_repository_is_rebuilt_empty(tmp_path: Path) -> None:
    fill(tmp_path / "ours")
    open_index(tmp_path / "foreign", FOREIGN).close()
    shutil.copy(tmp_path / "foreign/data.mdb", tmp_path / "ours/data.mdb")
    with open_index(tmp_path / "ours", UUID) as index:
        assert [note for note in index.notes if "ddb.json says" in note]
        assert index.containers() == set()
        assert index.fault is None


@pytest.mark.parametrize("identity", [b"", b"{}", b"[1]", b"\xff"])
def test_an_identity_that_is_damaged_is_rebuilt(tmp_path: Path, identity: bytes) -> None:
    fill(tmp_path)
    (tmp_path / "ddb.json").write_bytes(identity)
    with open_index(tmp_path, UUID) as index:
        assert [note for note in index.notes if "ddb.json is damaged" in note]


def test_an_index_of_another_version_is_rebuilt(tmp_path: Path) -> None:
    fill(tmp_path)
    identity = tmp_path / "ddb.json"
    identity.write_bytes(identity.read_bytes().replace(b'"schema": 1', b'"schema": 99'))
    with open_index(tmp_path, UUID) as index:
        assert [note for note in index.notes if "made by another version" in note]
        assert index.containers() == set()


def test_a_file_in_place_of_the_directory_is_a_named_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DdbUnavailable, match="no directory for an index"):
        open_index(tmp_path / "file", UUID)
    with pytest.raises(DdbUnavailable, match="no directory for an index"):
        open_index(tmp_path / "file/below", UUID)


def test_a_directory_in_place_of_the_data_file_is_a_named_fault(tmp_path: Path) -> None:
    open_index(tmp_path, UUID).close()
    (tmp_path / "data.mdb").unlink()
    (tmp_path / "data.mdb").mkdir()
    with pytest.raises(DdbUnavailable):
        open_index(tmp_path, UUID)


def test_a_full_map_is_a_fault_and_what_it_holds_goes_on_answering(tmp_path: Path) -> None:
    limits = Limits(map_bytes=1 << 18, batch_keys=500)
    with open_index(tmp_path, UUID, limits) as index:
        index.record(cid_of(1, 0), EVERY[:200])
        index.flush()
        assert index.fault is None
        for seq in range(20):
            more = np.random.default_rng(seq).integers(0, 256, (1000, 32), dtype=np.uint8)
            index.record(cid_of(2, seq), more)
            index.flush()
        assert isinstance(index.fault, DdbFull)
        assert cids_of(index, EVERY[:200]) == {cid_of(1, 0)}
        index.record(cid_of(3, 0), EVERY[200:300])
        index.flush()
        assert cids_of(index, EVERY[200:300]) == {0}
        assert cid_of(3, 0) not in index.containers()
    with open_index(tmp_path, UUID) as index:
        assert index.notes == []
        assert cids_of(index, EVERY[:200]) == {cid_of(1, 0)}


def test_a_full_disk_is_a_fault_and_what_it_holds_goes_on_answering(tmp_path: Path) -> None:
    code = """
import resource
with open_index(directory, UUID) as index:
    index.record(1 << 24, EVERY[:200])
    index.flush()
    size = (directory / "data.mdb").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    index.record(2 << 24, EVERY[200:])
    index.flush()
    say(index.fault.code, sorted(set(index.locate(EVERY).cids.tolist())))
"""
    with process(code, tmp_path) as other:
        assert said(other) == f"ddb.full {[0, 1 << 24]}"
        assert other.wait() == 0


def test_a_disk_that_is_full_at_the_opening_is_a_named_fault(tmp_path: Path) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    open_index(directory, UUID)
except Exception as fault:
    say(fault.code)
"""
    with process(code, tmp_path) as other:
        assert said(other) == "ddb.full"


def test_less_address_space_than_the_map_asks_for_takes_a_smaller_map(tmp_path: Path) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (40 << 30, 40 << 30))
with open_index(directory, UUID) as index:
    index.record(1 << 24, EVERY[:10])
    index.flush()
    say(index.fault, set(index.locate(EVERY[:10]).cids.tolist()))
"""
    with process(code, tmp_path) as other:
        assert said(other) == f"None {{{1 << 24}}}"


HOLDER = """
import lmdb
environment = lmdb.open(str(directory), max_dbs=3)
transaction = environment.begin(write=True)
say("held")
input()
"""


def test_a_write_lock_that_is_never_given_back_costs_the_index_and_not_the_backup(tmp_path: Path) -> None:
    limits = Limits(patience_seconds=0.2, batch_keys=10, pending_keys=20, batch_seconds=0.0)
    index = open_index(tmp_path, UUID, limits)
    with process(HOLDER, tmp_path) as other:
        assert said(other) == "held"
        for seq in range(5):
            index.record(cid_of(1, seq), EVERY[seq * 10 : seq * 10 + 10])
        index.flush()
        assert isinstance(index.fault, DdbUnavailable)
        assert cids_of(index, EVERY[:50]) == {0}
        index.close()


def test_a_write_lock_that_is_held_while_opening_is_a_named_fault(tmp_path: Path) -> None:
    open_index(tmp_path, UUID).close()
    with process(HOLDER, tmp_path) as other:
        assert said(other) == "held"
        with pytest.raises(DdbUnavailable, match="holds the write lock"):
            open_index(tmp_path, UUID, Limits(patience_seconds=0.2))


def test_an_opening_that_somebody_else_does_not_finish_is_a_named_fault(tmp_path: Path) -> None:
    open_index(tmp_path, UUID).close()
    code = """
import fcntl
guard = open(directory / "guard", "r+b")
fcntl.flock(guard, fcntl.LOCK_EX)
say("held")
input()
"""
    with process(code, tmp_path) as other:
        assert said(other) == "held"
        with pytest.raises(DdbUnavailable, match="opening or closing"):
            open_index(tmp_path, UUID, Limits(patience_seconds=0.1, check_seconds=0.0))
