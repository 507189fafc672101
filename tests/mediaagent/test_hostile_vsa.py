"""A VSA that sends what no right one sends harms nobody but its own session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ext.fingerprint import Fingerprinter
from media.backup import Source
from media.container import ContainerWriter, Kind
from media.container_reader import containers_of
from media.faults import DamageFault, PointMissing, SessionEnded, SessionForeign
from media.ids import cid_of
from media.known_chunks import Places
from media.page import Leaf, encode
from media.record import Codec, Type
from media.recovery_point import Machine, list_points
from media.session import PAGES_SEQ, settle
from media.session_log import WrittenDisk
from mediaagent.faults import (
    ContainerRefused,
    DenyListOld,
    LeafRefused,
    PoolUnknown,
    RequestRefused,
    SessionBroken,
    SessionMissing,
)
from proto import backup_pb2
from proto.data_plane import CID, OFFSET, SESSION, SIZE, FramedLeaf, frame_leaf
from proto.faults import PeerBusy, PeerRefused, calling
from proto.tickets import TicketRefused
from tests.media.fakes import SparseDisk
from tests.media.workbench import MACHINE, SEGMENT, noise
from tests.mediaagent.served import OTHER_VSA, Said, Served, back_up, begin, restore, serving
from vsa.backup.remote_log import RemoteLog
from vsa.media_agent import MediaAgentLine

DATA = noise(1, SEGMENT * 2)
SOURCE = [Source("scsi0:0", SparseDisk.of(DATA))]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def line(served: Served) -> Iterator[MediaAgentLine]:
    with served.line() as line:
        yield line


@pytest.fixture
def log(served: Served, line: MediaAgentLine) -> RemoteLog:
    return begin(line, served.pool, SOURCE)


def metadata(log: RemoteLog, **more: int) -> tuple[tuple[str, str], ...]:
    names = {"cid": CID, "size": SIZE, "offset": OFFSET}
    return ((SESSION, log._session), *((names[name], str(value)) for name, value in more.items()))


def put(line: MediaAgentLine, log: RemoteLog, cid: int, body: bytes, size: int | None = None, offset: int = 0) -> None:
    told = metadata(log, cid=cid, size=len(body) if size is None else size, offset=offset)
    with calling("it"):
        line.data.put_container(iter([body[at : at + 5000] for at in range(0, len(body), 5000)]), metadata=told)


def container(log: RemoteLog, cid: int, chunks: list[tuple[bytes, bytes | None]]) -> bytes:
    """Chunks with their fingerprints, or with others."""
    fingerprinter = Fingerprinter(log.terms.fingerprint_key)
    buffer = memoryview(bytearray(log.terms.parameters.container_bytes))
    writer = ContainerWriter(buffer, cid, Kind.DATA, log.terms.repository, log.key_for(10))
    for plain, fingerprint in chunks:
        writer.append(Type.CHUNK, Codec.RAW, plain, len(plain), fingerprint or fingerprinter.one(plain))
    return bytes(writer.finish()[0])


def leaf(segment: int, rows: list[tuple[int, int, bytes, int, int]]) -> Leaf:
    """Rows of offset, length, fingerprint, container, slot."""
    offsets, lengths, fingerprints, cids, slots = zip(*rows, strict=True)
    places = Places(np.array(cids, np.uint64), np.array(slots, np.uint32))
    named = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, 32)
    return Leaf(segment, np.array(offsets, np.uint32), np.array(lengths, np.uint32), named, places)


def put_leaf(line: MediaAgentLine, log: RemoteLog, page: Leaf | bytes, segment: int = 0, disk: int = 0) -> None:
    raw = page if isinstance(page, bytes) else b"".join(encode(page))
    with calling("it"):
        line.data.put_leaves(frame_leaf(FramedLeaf(disk, segment, raw)), metadata=metadata(log))


def commit(log: RemoteLog) -> object:
    return log.commit([WrittenDisk(0, None)], {}, {})


def assert_broken(served: Served, line: MediaAgentLine, log: RemoteLog) -> None:
    """It takes nothing more and never commits, and nobody else notices."""
    with pytest.raises(SessionBroken):
        log.locate(np.zeros((1, 32), np.uint8))
    with pytest.raises(SessionBroken):
        commit(log)
    assert list_points(served.pool).commits == []
    point = back_up(line, served.pool, SparseDisk.of(DATA))
    target, outcome = restore(line, served.pool, point.id)
    assert (target.data, outcome.lost) == (DATA, [])


def test_a_container_of_garbage_is_not_stored(served: Served, line: MediaAgentLine, log: RemoteLog) -> None:
    with pytest.raises(DamageFault):
        put(line, log, cid_of(log.sid, 0), noise(3, 20_000))
    assert not list(served.memory.list("c/"))
    assert_broken(served, line, log)


def test_chunks_under_wrong_fingerprints_are_never_found_by_others(
    served: Served, line: MediaAgentLine, log: RemoteLog
) -> None:
    right = Fingerprinter(log.terms.fingerprint_key).one(DATA[:4096])
    cid = cid_of(log.sid, 0)
    with pytest.raises(DamageFault, match="fingerprint"):
        put(line, log, cid, container(log, cid, [(noise(9, 4096), right)]))
    assert not list(served.memory.list("c/"))
    other = begin(line, served.pool, SOURCE)
    assert not other.locate(np.frombuffer(right, np.uint8).reshape(1, 32)).cids.any()
    other.abort("test")
    assert_broken(served, line, log)


def test_a_container_number_of_another_session_is_refused(served: Served, line: MediaAgentLine, log: RemoteLog) -> None:
    for away in (1 << 24, -1 << 24, PAGES_SEQ):
        log = begin(line, served.pool, SOURCE)
        with pytest.raises(ContainerRefused):
            put(line, log, cid_of(log.sid, 0) + away, b"x" * 500)
    assert_broken(served, line, log)


def test_another_vsas_session_does_not_exist_for_it(served: Served, log: RemoteLog) -> None:
    with served.line(caller=OTHER_VSA) as line:
        log._line = line
        with pytest.raises(SessionMissing):
            log.locate(np.zeros((1, 32), np.uint8))
        with pytest.raises(SessionMissing), calling("it"):
            line.backups.Abort(backup_pb2.AbortRequest(session=log._session, reason="mine now"))
        with pytest.raises(SessionMissing):
            put(line, log, cid_of(log.sid, 0), b"x" * 500)


def test_a_lost_commit_is_settled_by_the_job_that_its_session_was_begun_for(served: Served, log: RemoteLog) -> None:
    with pytest.raises(SessionForeign, match="job-1"):
        settle(served.pool, log.sid, "job-2", served.clock)
    assert log.locate(np.zeros((1, 32), np.uint8)).cids.tolist() == [0]
    assert settle(served.pool, log.sid, "job-1", served.clock) is None
    with pytest.raises(SessionEnded):
        commit(log)


def test_more_bytes_than_announced_and_more_than_a_container_are_refused(
    served: Served, line: MediaAgentLine, log: RemoteLog
) -> None:
    with pytest.raises(ContainerRefused, match="announced"):
        put(line, log, cid_of(log.sid, 0), b"x" * 20_000, size=10_000)
    log = begin(line, served.pool, SOURCE)
    with pytest.raises(ContainerRefused, match="expected up to"):
        put(line, log, cid_of(log.sid, 0), b"x" * 500, size=1 << 40)
    assert_broken(served, line, log)


def test_giant_messages_are_refused_before_memory_is_taken_for_them(line: MediaAgentLine, log: RemoteLog) -> None:
    giant = bytes(9 << 20)
    for call in (line.data.locate, line.data.put_leaves):
        with pytest.raises(PeerBusy), calling("it"):
            call(giant, metadata=metadata(log))
    with pytest.raises(RequestRefused), calling("it"):
        line.data.locate(bytes(33), metadata=metadata(log))
    with pytest.raises(RequestRefused), calling("it"):
        line.data.locate(bytes(32 * 20_000), metadata=metadata(log))
    assert log.locate(np.zeros((3, 32), np.uint8)).cids.tolist() == [0, 0, 0]


def stored_chunk(served: Served, line: MediaAgentLine) -> tuple[bytes, int, int, int]:
    """Fingerprint, length, container and slot of a chunk that another machine stored."""
    other = Machine("vm-db", "db")
    with served.line(served.ticket(machine=other)) as theirs:
        point = back_up(theirs, served.pool, SparseDisk.of(noise(7, SEGMENT)), machine=other)
    ref = point.disks[0].root.ref
    assert ref is not None
    first = served.served.tree.interior(ref, 1, 0)[0]
    page = served.served.tree.leaf(first, 0)
    return page.fingerprints[0].tobytes(), int(page.lengths[0]), int(page.places.cids[0]), int(page.places.slots[0])


def test_a_leaf_may_name_only_what_is_there(served: Served, line: MediaAgentLine) -> None:
    fingerprint, length, cid, slot = stored_chunk(served, line)
    pages = next(c for c in sorted(containers_of(served.pool.repository)) if c & 0xFFFFFF >= PAGES_SEQ)
    page_name = served.served.containers.footer(pages)["fingerprint"][0].tobytes()
    size = len(DATA)
    wrong: dict[str, tuple[Leaf | bytes, int, int]] = {
        "a place that was never answered": (leaf(0, [(0, length, noise(1, 32), cid, slot)]), 0, 0),
        "another slot": (leaf(0, [(0, length, fingerprint, cid, slot + 1)]), 0, 0),
        "a slot that does not exist": (leaf(0, [(0, length, fingerprint, cid, 1 << 31)]), 0, 0),
        "a container that does not exist": (leaf(0, [(0, length, fingerprint, cid + 77, slot)]), 0, 0),
        "another length": (leaf(0, [(0, length - 1, fingerprint, cid, slot)]), 0, 0),
        "a page": (leaf(0, [(0, 100, page_name, pages, 0)]), 0, 0),
        "no place": (leaf(0, [(0, length, fingerprint, 0, 0)]), 0, 0),
        "another segment": (leaf(1, [(0, length, fingerprint, cid, slot)]), 0, 0),
        "a segment behind the end": (leaf(9, [(0, length, fingerprint, cid, slot)]), 9, 0),
        "bytes behind the segment": (leaf(0, [(SEGMENT - 1, length, fingerprint, cid, slot)]), 0, 0),
        "another disk": (leaf(0, [(0, length, fingerprint, cid, slot)]), 0, 1),
        "chunks that overlap": (leaf(0, [(at, length, fingerprint, cid, slot) for at in (0, 1)]), 0, 0),
        "garbage": (noise(4, 999), 0, 0),
    }
    assert size == 2 * SEGMENT
    for what, (page, segment, disk) in wrong.items():
        log = begin(line, served.pool, SOURCE)
        if what == "a page of its own session" and isinstance(page, Leaf):
            own = np.array([cid_of(log.sid, PAGES_SEQ)], np.uint64)
            page = replace(page, places=Places(own, page.places.slots))  # noqa: PLW2901
        with pytest.raises((LeafRefused, DamageFault)):
            put_leaf(line, log, page, segment, disk)
        with pytest.raises(SessionBroken):
            commit(log)
    log = begin(line, served.pool, SOURCE)
    put_leaf(line, log, leaf(0, [(0, length, fingerprint, cid, slot)]))
    point = commit(log)
    target, outcome = restore(line, served.pool, point.id)  # type: ignore[attr-defined]
    assert not outcome.lost
    assert target.data[:length] == noise(7, SEGMENT)[:length]


def test_what_leaves_name_must_arrive_before_the_commit_and_be_what_they_say(
    served: Served, line: MediaAgentLine, log: RemoteLog
) -> None:
    plain, cid = noise(5, 4096), cid_of(log.sid, 0)
    name = Fingerprinter(log.terms.fingerprint_key).one(plain)
    put_leaf(line, log, leaf(0, [(0, 4096, name, cid, 0)]))
    with pytest.raises(LeafRefused, match="did not arrive"):
        commit(log)
    log = begin(line, served.pool, SOURCE)
    cid = cid_of(log.sid, 0)
    put_leaf(line, log, leaf(0, [(0, 4096, name, cid, 0)]))
    with pytest.raises(LeafRefused):
        put(line, log, cid, container(log, cid, [(noise(6, 4096), None)]))
    with pytest.raises(SessionBroken):
        commit(log)
    log = begin(line, served.pool, SOURCE)
    cid = cid_of(log.sid, 0)
    put_leaf(line, log, leaf(0, [(0, 4096, name, cid, 0)]))
    put(line, log, cid, container(log, cid, [(plain, None)]))
    point = commit(log)
    target, _ = restore(line, served.pool, point.id)  # type: ignore[attr-defined]
    assert target.data[:4096] == plain


def test_a_leaf_ahead_of_its_containers_is_bounded(
    served: Served, line: MediaAgentLine, log: RemoteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediaagent.leaf_check.MOST_AHEAD", 3)
    rows = [(at * 100, 100, noise(at, 32), cid_of(log.sid, at), 0) for at in range(4)]
    with pytest.raises(LeafRefused, match="not arrived"):
        put_leaf(line, log, leaf(0, rows))


def test_commits_of_impossible_disks_and_no_json_are_refused(line: MediaAgentLine, log: RemoteLog) -> None:
    for disks, description, statistics in (
        ([], {}, {}),
        ([WrittenDisk(len(DATA) + 1, None)], {}, {}),
        ([WrittenDisk(-1, None)], {}, {}),
        ([WrittenDisk(0, None)], {}, {"chunks": -1}),
        ([WrittenDisk(0, None)], {"x": "y" * (2 << 20)}, {}),
    ):
        with pytest.raises(RequestRefused):
            log.commit(disks, description, statistics)
    assert commit(log)


@pytest.mark.parametrize("operation", ["backup", "restore"])
def test_a_ticket_must_be_right_in_everything(served: Served, operation: str, line: MediaAgentLine) -> None:
    point = back_up(line, served.pool, SparseDisk.of(DATA))

    def ask(line: MediaAgentLine) -> None:
        if operation == "backup":
            begin(line, served.pool, SOURCE)
        else:
            restore(line, served.pool, point.id)

    other_operation = "restore" if operation == "backup" else "backup"
    wrong: dict[str, Any] = {
        "over": served.ticket(expires_at=int(time.time()) - 1),
        "another VSA's": served.ticket(OTHER_VSA),
        "another machine's": served.ticket(machine=Machine("vm-x", "x")),
        "another pool's": served.ticket(pool="0" * 36),
        "for something else": served.ticket(operations=(other_operation,)),
        "forged": served.ticket()[:-6] + "AAAAAA",
        "no ticket": "nonsense",
    }
    for ticket in wrong.values():
        with served.line(ticket) as wrong_line, pytest.raises(TicketRefused):
            ask(wrong_line)
    with served.line() as right:
        ask(right)


def test_a_restore_sees_only_the_points_that_its_ticket_names(served: Served, line: MediaAgentLine) -> None:
    first = back_up(line, served.pool, SparseDisk.of(DATA))
    second = back_up(line, served.pool, SparseDisk.of(DATA[::-1]))
    with served.line(served.ticket(points=(second.id,))) as narrow:
        assert restore(narrow, served.pool, second.id)[0].data == DATA[::-1]
        with pytest.raises(TicketRefused):
            restore(narrow, served.pool, first.id)
    for nonsense in ("zz", "ffffffffff", "0", "1" * 40):
        with pytest.raises(PointMissing):
            restore(line, served.pool, nonsense)


def test_a_revoked_vsa_is_refused_also_with_an_open_session(served: Served, log: RemoteLog) -> None:
    served.trust.denied = Said(frozenset({"5a"}))
    with pytest.raises(PeerRefused, match="revoked"):
        log.locate(np.zeros((1, 32), np.uint8))


def test_nothing_new_is_begun_when_the_commserve_was_not_heard_for_long(
    served: Served, line: MediaAgentLine, log: RemoteLog
) -> None:
    served.trust.denied = Said(heard_at=time.monotonic() - 1000)
    with pytest.raises(DenyListOld):
        begin(line, served.pool, SOURCE)
    assert log.locate(np.zeros((1, 32), np.uint8)).cids.tolist() == [0], "what runs goes on"


def test_a_machine_and_a_pool_that_are_not_here(served: Served) -> None:
    elsewhere = "00000000-0000-0000-0000-000000000000"
    with served.line(served.ticket(pool=elsewhere)) as line:
        request = backup_pb2.BeginRequest(nonce="0" * 32, pool=elsewhere, machine_id=MACHINE.id)
        with pytest.raises(PoolUnknown), calling("it"):
            line.backups.Begin(request, metadata=tuple(line.ticket))
