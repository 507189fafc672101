"""One VSA gets its share of a MediaAgent, whatever it asks for: one session a job, some streams, and turns."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from media.backup import Source
from media.faults import SessionEnded
from media.pool import Parameters
from media.session_log import WrittenDisk
from mediaagent.access import Grant
from mediaagent.buffers import Buffers
from mediaagent.faults import SessionsFull
from mediaagent.server import Room
from mediaagent.turns import Most, Turns
from proto import restore_pb2
from proto.channels import Caller
from proto.faults import PeerBusy, calling
from proto.tickets import Ticket, TicketRefused
from runtime.faults import Fault
from tests.media.fakes import FakeClock, MemoryTarget, SparseDisk
from tests.media.workbench import SEGMENT, noise
from tests.mediaagent.served import OTHER_VSA, VSA, Served, back_up, begin, restore, serving
from vsa.restore.remote_disk import RemoteDiskRestore, open_point

DATA = noise(1, SEGMENT * 2)
SOURCE = [Source("scsi0:0", SparseDisk.of(DATA))]
ANY = np.zeros((1, 32), np.uint8)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, room=Room(sessions=2)) as served:
        yield served


def test_sessions_are_bounded_and_a_jobs_own_gives_way(served: Served) -> None:
    with served.line() as line:
        first, second = (begin(served.another_job(line), served.pool, SOURCE) for _ in range(2))
        again = begin(line, served.pool, SOURCE)
        with pytest.raises(SessionEnded, match="another session of its job"):
            second.locate(ANY)
        served.another_job(line)
        with pytest.raises(SessionsFull):
            begin(line, served.pool, SOURCE)
        first.abort("test")
        begin(line, served.pool, SOURCE).abort("test")
        assert again.locate(ANY).cids.tolist() == [0]


def test_one_ticket_opens_one_session_however_often_it_is_shown(served: Served) -> None:
    with served.line(seconds=0.0) as hostile, served.line(served.ticket(OTHER_VSA, job="theirs"), OTHER_VSA) as line:

        def take(_: int) -> None:
            with suppress(PeerBusy):
                begin(hostile, served.pool, SOURCE)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(take, range(40)))
        assert served.server.sessions.count == 1
        back_up(line, served.pool, SparseDisk.of(DATA))
        for _ in range(10):
            begin(hostile, served.pool, SOURCE)
        assert served.server.sessions.count == 1
        theirs = begin(line, served.pool, SOURCE)
        take(0)
        assert theirs.locate(ANY).cids.tolist() == [0]


def test_a_session_of_a_newer_lease_ends_the_older_and_not_the_other_way_round(served: Served) -> None:
    with served.line() as older, served.line(served.ticket(OTHER_VSA, fence=2), OTHER_VSA) as newer:
        zombie = begin(older, served.pool, SOURCE)
        log = begin(newer, served.pool, SOURCE)
        with pytest.raises(Fault, match="another session of its job"):
            zombie.commit([WrittenDisk(0, None)], {}, {})
        with pytest.raises(TicketRefused, match="lease 1"):
            begin(older, served.pool, SOURCE)
        assert log.commit([WrittenDisk(0, None)], {}, {}).sid == log.sid
        with pytest.raises(TicketRefused):
            begin(older, served.pool, SOURCE)


def test_a_restore_that_is_read_slowly_leaves_streams_to_others(tmp_path: Path) -> None:
    with serving(tmp_path, parameters=Parameters()) as served, served.line() as hostile:
        image = noise(1, 48 << 20)
        point = back_up(hostile, served.pool, SparseDisk(len(image), {0: image}))
        wanted = restore_pb2.RestoreRequest(pool=str(served.pool.id), point=point.id, segments=2)
        held = [hostile.data.restore_disk(wanted, metadata=hostile.ticket) for _ in range(Most().of_a_job)]
        for stream in held:
            next(stream)
        with pytest.raises(PeerBusy), calling("it"):
            next(hostile.data.restore_disk(wanted, metadata=hostile.ticket))
        with served.line(served.ticket(OTHER_VSA, job="theirs"), OTHER_VSA) as line:
            assert restore(line, served.pool, point.id)[0].data == image
        for stream in held:
            stream.cancel()


def test_no_vsa_has_all_buffers_for_containers() -> None:
    buffers = Buffers(4, 100, 0.0)
    mine = [buffers.take(VSA) for _ in range(3)]
    with pytest.raises(PeerBusy):
        buffers.take(VSA)
    theirs = buffers.take(OTHER_VSA)
    with pytest.raises(PeerBusy):
        buffers.take(OTHER_VSA)
    buffers.give(theirs, OTHER_VSA)
    lost: list[int] = []
    lent = [buffers.lend(buffer, VSA, lambda: lost.append(1)) for buffer in mine[:2]]
    assert buffers.reclaim(lent[1])
    assert buffers.take(VSA) is theirs
    with pytest.raises(PeerBusy):
        buffers.take(VSA)
    assert buffers.take(OTHER_VSA) is mine[0]
    assert lost == [1]
    assert not buffers.reclaim(lent[0])


def grant(job: int, caller: Caller = VSA) -> Grant:
    return Grant(caller, Ticket(caller.uri, f"job-{job}", 1, "vm", "pool", ("restore",), (), 0))


def take(turns: Turns, stack: ExitStack, wanted: Grant, count: int) -> int:
    """How many of so many streams it gets."""
    got = 0
    for _ in range(count):
        with suppress(PeerBusy):
            stack.enter_context(turns.one(wanted))
            got += 1
    return got


def test_neither_a_job_nor_an_agent_has_all_streams() -> None:
    with ExitStack() as stack:
        turns = Turns(FakeClock(), Most(all=12, of_a_caller=9, of_a_job=6))
        assert [take(turns, stack, grant(job), 99) for job in (1, 2, 3)] == [6, 3, 0]
        assert take(turns, stack, grant(4, OTHER_VSA), 99) == 3
    with ExitStack() as stack:
        assert take(turns, stack, grant(1), 99) == 6, "what ended is free again"


def test_who_has_fewer_streams_goes_first_when_it_waits() -> None:
    clock = FakeClock()
    turns = Turns(clock, Most(all=4, of_a_caller=4, of_a_job=4))
    with ExitStack() as first, ExitStack() as second:
        with ExitStack() as one:
            assert take(turns, first, grant(1), 3) + take(turns, one, grant(1), 1) == 4
            assert take(turns, second, grant(2), 1) == 0
        assert take(turns, first, grant(1), 1) == 0, "another waits, and has none"
        assert take(turns, second, grant(2), 1) == 1
    with ExitStack() as stack:
        assert take(turns, stack, grant(1), 4) == 4
        assert take(turns, stack, grant(2), 1) == 0
    clock.seconds += 11
    with ExitStack() as stack:
        assert take(turns, stack, grant(1), 4) == 4, "who does not ask again does not wait"


def test_of_forty_restores_at_once_none_waits_longer_than_a_vsa_does() -> None:
    """Five readers each, windows of 10 to 30 s, and pauses as a VSA makes them."""
    rng, clock = random.Random(1), FakeClock()
    turns = Turns(clock)
    readers = [grant(number // 5, Caller("vsa", str(number // 40))) for number in range(200)]
    due = [rng.uniform(0, 5) for _ in readers]
    running: dict[int, ExitStack] = {}
    seen_at = dict.fromkeys((each.ticket.job for each in readers), 0.0)
    longest = 0.0
    while clock.seconds < 1800:
        number = min(range(len(readers)), key=due.__getitem__)
        clock.seconds = due[number]
        for each in running:
            seen_at[readers[each].ticket.job] = clock.seconds
        longest = max(longest, *(clock.seconds - at for at in seen_at.values()))
        if number in running:
            running.pop(number).close()
        stack = ExitStack()
        if take(turns, stack, readers[number], 1):
            running[number] = stack
        due[number] += rng.uniform(10, 30) if number in running else rng.uniform(2.5, 5)
    assert longest < 100


def test_a_busy_media_agent_fails_no_restore_of_which_a_stream_moves(served: Served) -> None:
    with served.line() as line:
        point = open_point(line, str(served.pool.id), back_up(line, served.pool, SparseDisk.of(DATA)).id)
        disk = point.opened.disks[0]
        bringing = RemoteDiskRestore(line, point, disk, MemoryTarget(disk.size), 1, lambda _: None)
        tries = 0

        def stream() -> None:
            nonlocal tries
            tries += 1
            if tries < 4:
                bringing.wrote(1)  # another reader of the same disk
            if tries < 6:
                raise PeerBusy("all hands full")

        line.patience = type(line.patience)(FakeClock(), lambda _: None, -1.0)
        with pytest.raises(PeerBusy):
            bringing._patiently(stream)
        assert tries == 4
        bringing._patiently(lambda: None)
