"""Connections that break, replies that are lost, streams that go on where they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from media.backup import Backup, Source
from media.container import ContainerWriter, Kind
from media.faults import SessionEnded
from media.ids import container_name
from media.pool import Parameters
from media.record import Codec, Type
from media.recovery_point import list_points
from media.session_log import WrittenDisk
from mediaagent.faults import StreamBroken
from mediaagent.watchdog import Watchdog
from proto import backup_pb2
from proto.data_plane import CID, OFFSET, SESSION, SIZE
from proto.faults import calling
from runtime.clock import SystemClock
from tests.media.fakes import FakeClock, SparseDisk
from tests.media.workbench import MACHINE, SEGMENT, noise
from tests.mediaagent.cutting import Cutting
from tests.mediaagent.served import Served, back_up, begin, restore, serving
from vsa.backup.remote_log import RemoteLog
from vsa.media_agent import Address, MediaAgentLine

DATA = noise(1, SEGMENT * 4)
SOURCE = [Source("scsi0:0", SparseDisk.of(DATA))]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def line(served: Served) -> Iterator[MediaAgentLine]:
    with served.line() as line:
        yield line


def through(served: Served, control: Cutting, data: Cutting) -> Address:
    return Address("127.0.0.1", control.port, data.port)


@pytest.mark.parametrize("which", ["control", "data"])
def test_a_backup_and_a_restore_survive_a_cut_at_any_byte(served: Served, which: str) -> None:
    """The bytes of a whole run are counted first; then it is run again and again with a cut further on each time."""
    control, data = Cutting(served.server.control_port), Cutting(served.server.data_port)
    cut = control if which == "control" else data
    image = DATA
    with served.line(address=through(served, control, data)) as line:
        back_up(line, served.pool, SparseDisk.of(image), parent="none")
        whole = cut.passed
    for number in range(8):
        image = noise(number + 10, SEGMENT) + image[SEGMENT:]  # something new, so that containers are on their way
        with served.line(address=through(served, control, data)) as line:
            cut.cut_after(whole * number // 8 + number)
            point = back_up(line, served.pool, SparseDisk.of(image))
            cut.cut_after(whole * number // 8 + number)
            target, outcome = restore(line, served.pool, point.id)
        assert (target.data, outcome.lost) == (image, [])
    assert len(list_points(served.pool).commits) == 9, "no run made two points"
    control.close()
    data.close()


def test_a_begin_and_a_commit_whose_replies_were_lost_are_asked_again(served: Served, line: MediaAgentLine) -> None:
    request = backup_pb2.BeginRequest(
        nonce="ab" * 16,
        pool=str(served.pool.id),
        machine_id=MACHINE.id,
        machine_name=MACHINE.name,
        disks=[backup_pb2.SourceDisk(key="a", size=5000)],
        parent="auto",
    )
    first = line.backups.Begin(request, metadata=tuple(line.ticket))
    again = line.backups.Begin(request, metadata=tuple(line.ticket))
    assert (first.session, first.sid) == (again.session, again.sid)
    assert served.server.sessions.count == 1
    end = backup_pb2.CommitRequest(session=first.session, disks=[backup_pb2.WrittenDisk()])
    assert line.backups.Commit(end) == line.backups.Commit(end)
    assert len(list_points(served.pool).commits) == 1
    line.backups.Abort(backup_pb2.AbortRequest(session=first.session, reason="late"))
    assert len(list_points(served.pool).commits) == 1


def container_of(log: RemoteLog) -> tuple[int, bytes]:
    from ext.fingerprint import Fingerprinter

    cid = log.next_cid()
    buffer = memoryview(bytearray(log.terms.parameters.container_bytes))
    writer = ContainerWriter(buffer, cid, Kind.DATA, log.terms.repository, log.key_for(100))
    for number in range(10):
        plain = noise(number, 4096)
        writer.append(Type.CHUNK, Codec.RAW, plain, 4096, Fingerprinter(log.terms.fingerprint_key).one(plain))
    return cid, bytes(writer.finish()[0])


def put(line: MediaAgentLine, log: RemoteLog, cid: int, body: bytes, first: int, last: int) -> None:
    told = ((SESSION, log._session), (CID, str(cid)), (SIZE, str(len(body))), (OFFSET, str(first)))
    with calling("it"):
        line.data.put_container(
            iter([body[at : min(at + 4000, last)] for at in range(first, last, 4000)]), metadata=told
        )


def test_what_arrived_of_a_container_is_not_sent_again(served: Served, line: MediaAgentLine) -> None:
    log = begin(line, served.pool, SOURCE)
    cid, body = container_of(log)
    with pytest.raises(StreamBroken):
        put(line, log, cid, body, 0, 20_000)
    assert log._received(cid) == (20_000, False)
    with pytest.raises(StreamBroken):
        put(line, log, cid, body, 24_000, len(body))
    assert log._received(cid) == (20_000, False)
    put(line, log, cid, body, 20_000, len(body))
    assert log._received(cid)[1]
    assert served.memory.get(container_name(cid)) == body
    put(line, log, cid, body, 0, len(body))  # a repetition is answered, and stores nothing


def test_a_part_whose_buffer_was_needed_is_sent_again(tmp_path: Path) -> None:
    from mediaagent.server import Room

    with serving(tmp_path, room=Room(container_buffers=1, buffer_wait_seconds=5.0)) as served, served.line() as line:
        one, two = (begin(served.another_job(line), served.pool, SOURCE) for _ in range(2))
        (cid, body), (cid2, body2) = container_of(one), container_of(two)
        with pytest.raises(StreamBroken):
            put(line, one, cid, body, 0, 20_000)
        put(line, two, cid2, body2, 0, len(body2))
        assert one._received(cid) == (0, False)
        with pytest.raises(StreamBroken):
            put(line, one, cid, body, 20_000, len(body))
        put(line, one, cid, body, 0, len(body))
        assert one._received(cid)[1]


def test_a_session_whose_writer_is_not_heard_ends(served: Served, line: MediaAgentLine) -> None:
    log = begin(line, served.pool, SOURCE)
    session = next(iter(served.server.sessions._by_id.values()))
    session.heard_at -= served.room.idle_seconds + 1
    served.server.look()
    with pytest.raises(SessionEnded, match="not heard"):
        log.commit([WrittenDisk(0, None)], {}, {})


def test_a_restarted_media_agent_leaves_a_commit_unknown_and_the_next_run_goes_on(served: Served) -> None:
    from media.faults import SessionUnknown

    with served.line() as line:
        log = begin(line, served.pool, SOURCE)
        served.server.stop(0.0)
        served.start()
    with served.line() as line:
        log._line = line
        with pytest.raises(SessionUnknown):
            log.commit([WrittenDisk(0, None)], {}, {})
        assert list_points(served.pool).commits == []
        back_up(line, served.pool, SparseDisk.of(DATA))


class Context:
    """What the watchdog asks of a call."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


def test_streams_that_do_not_move_are_given_up_and_others_not() -> None:
    clock = FakeClock()
    watchdog, slow, quick = Watchdog(clock, 60.0), Context(), Context()
    with watchdog.watch(slow), watchdog.watch(quick) as moving:  # type: ignore[arg-type]
        for _ in range(5):
            clock.seconds += 15
            moving.moved()
            watchdog.look()
        assert (slow.cancelled, quick.cancelled) == (True, False)
    clock.seconds += 1000
    assert watchdog.look() == 0


def test_a_draining_media_agent_finishes_what_runs_and_begins_nothing(served: Served, line: MediaAgentLine) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from mediaagent.faults import Draining

    health = health_pb2_grpc.HealthStub(line._control)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    log = begin(line, served.pool, SOURCE)
    served.server.drain()
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(Draining):
        begin(line, served.pool, SOURCE)
    assert Backup(log, SOURCE, SystemClock(), 1, 1, lambda _: None).run({}).point.sid == log.sid


def test_reflection_names_the_services(line: MediaAgentLine) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    stub = reflection_pb2_grpc.ServerReflectionStub(line._control)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (reply,) = list(stub.ServerReflectionInfo(iter([request])))
    names = {service.name for service in reply.list_services_response.service}
    assert {"ingot.v1.Backups", "ingot.v1.Restores", "grpc.health.v1.Health"} <= names


def test_a_caller_without_a_certificate_of_the_authority_gets_no_connection(served: Served) -> None:
    from tests.proto.authority import Authority

    theirs, served.authority = served.authority, Authority()
    with served.line(seconds=0.2) as line, pytest.raises(Exception, match=r"(?s)127\.0\.0\.1|handshake|failed"):
        begin(line, served.pool, SOURCE)
    served.authority = theirs


def test_sessions_that_ended_hold_no_buffer(served: Served, line: MediaAgentLine) -> None:
    """A few hundred of them are remembered, for commits whose replies were lost."""
    kept = begin(line, served.pool, SOURCE)
    back_up(line, served.pool, SparseDisk.of(DATA))
    kept.abort("test")
    for session in served.server.sessions._by_id.values():
        assert session.log._pages._buffer is None
        assert not any(session.log._leaves)


def test_a_hundred_sessions_fit_in_a_gibibyte(tmp_path: Path) -> None:
    """Each with leaves in its page buffer, and a container on its way that broke off."""

    def resident() -> int:
        text = Path("/proc/self/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) << 10

    with serving(tmp_path, parameters=Parameters()) as served, served.line() as line:
        before = resident()
        for _ in range(100):
            log = begin(served.another_job(line), served.pool, [Source("a", SparseDisk(1 << 30))])
            cid, body = container_of(log)
            with pytest.raises(StreamBroken):
                put(line, log, cid, body, 0, 20_000)
            log.put_leaf(0, 3, None)
            for sent in log._send():
                sent.result()
            log._close()
        assert served.server.sessions.count == 100
        assert resident() - before < 1 << 30


def test_a_restore_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    from proto import restore_pb2
    from proto.faults import PeerUnreachable

    with serving(tmp_path, parameters=Parameters()) as served, served.line() as line:
        image = SparseDisk(64 << 20, {0: noise(1, 64 << 20)})
        point = back_up(line, served.pool, image)
        wanted = restore_pb2.RestoreRequest(pool=str(served.pool.id), point=point.id, segments=2)
        stream = line.data.restore_disk(wanted, metadata=tuple(line.ticket))
        next(stream)
        for watched in list(served.server._watchdog._streams):
            watched.moved_at -= served.room.stalled_seconds + 1
        served.server.look()
        with pytest.raises(PeerUnreachable), calling("it"):
            list(stream)
        opened = line.restores.OpenPoint(
            restore_pb2.OpenPointRequest(pool=str(served.pool.id), point=point.id), metadata=tuple(line.ticket)
        )
        assert opened.point.id == point.id, "and the MediaAgent serves on"
