"""Backup and restore as assignments: a directory of images, a MediaAgent on a real socket, a lease that may end."""

from __future__ import annotations

import io
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media.faults import TargetExists
from media.recovery_point import Machine, list_points
from proto import agents_pb2
from proto.agent.work import LeaseLost, Work, WorkCancelled
from proto.faults import PeerUnreachable
from runtime.clock import SystemClock
from runtime.logs import about, log
from tests.mediaagent.served import AGENT, VSA, Served, serving
from vsa.backup.job import Means, back_up
from vsa.faults import LandingRefused, MachineMissing, MediaAgentUnreachable, RestoreUnfit
from vsa.hypervisors.known import Known
from vsa.media_agent import MediaAgentLine
from vsa.restore.job import restore

GO_ON = agents_pb2.ReportReply(answer=agents_pb2.ReportReply.GO_ON)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "mediaagent") as served:
        yield served


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images" / "web1"
    folder.mkdir(parents=True)
    (folder / "disk-0.raw").write_bytes(os.urandom(300_000) + bytes(500_000) + os.urandom(100))
    (folder / "disk-1.raw").write_bytes(os.urandom(70_000))
    (folder / "machine.json").write_text(json.dumps({"id": "web1", "tags": ["gold"]}))
    return tmp_path / "images"


class Hurried(SystemClock):
    """On which half a minute goes by whenever somebody looks at it."""

    def __init__(self) -> None:
        self.looks = 0

    def monotonic_seconds(self) -> float:
        self.looks += 1
        return 30.0 * self.looks


def means(served: Served, clock: SystemClock | None = None) -> Means:
    clock = clock or SystemClock()
    known = Known(clock, lambda _sealed, _owner: b"")
    return Means(served.authority.agent(VSA.role, VSA.id), clock, 2, lambda _job, _fence: False, known)


def media_agents(served: Served, *before: str) -> list[agents_pb2.MediaAgent]:
    here = served.address
    address = f"lan={here.host}:{here.control_port}:{here.data_port}"
    return [agents_pb2.MediaAgent(id=AGENT.id, addresses=[*before, address])]


def work(
    served: Served, report: Callable[[Work, int], agents_pb2.ReportReply] = lambda *_: GO_ON, **kind: object
) -> Work:
    ticket = served.ticket(machine=Machine("web1", "web1"))
    assignment = agents_pb2.Assignment(id="a", job="j", attempt=1, lease_seconds=600, ticket=ticket, **kind)  # type: ignore[arg-type]
    return Work(assignment, SystemClock(), report)


def backup_of(served: Served, images: Path, machine: str = "web1", *before: str) -> agents_pb2.Backup:
    hypervisor = agents_pb2.Hypervisor(name="lab", kind="images", settings=json.dumps({"directory": str(images)}))
    return agents_pb2.Backup(
        hypervisor=hypervisor,
        machine=agents_pb2.Machine(id=machine),
        pool=agents_pb2.Pool(id=str(served.pool.id)),
        media_agents=media_agents(served, *before),
        parent="auto",
        level=1,
    )


def restore_of(served: Served, point: str, directory: Path, **more: object) -> agents_pb2.Restore:
    return agents_pb2.Restore(
        pool=agents_pb2.Pool(id=str(served.pool.id)),
        media_agents=media_agents(served),
        point=point,
        directory=str(directory),
        **more,  # type: ignore[arg-type]
    )


def test_a_machine_is_backed_up_again_and_restored_byte_for_byte(served: Served, images: Path, tmp_path: Path) -> None:
    first = back_up(work(served, backup=backup_of(served, images)), means(served))
    assert first["parent"] is None
    with (images / "web1/disk-0.raw").open("r+b") as disk:
        disk.seek(100_000)
        disk.write(b"a day later")
    again = work(served, backup=backup_of(served, images))
    second = back_up(again, means(served))
    assert second["parent"] == first["recovery_point"]
    assert 0 < second["new_bytes"] < first["new_bytes"]
    assert (again.progress.done_bytes, again.progress.total_bytes) == (870_100, 870_100)
    assert again.progress.stored_bytes > 0
    landing = tmp_path / "landing"
    landing.mkdir()
    wanted = restore_of(served, second["recovery_point"], landing / "web1")
    result = restore(work(served, restore=wanted), means(served), [landing])
    assert result["lost_bytes"] == 0
    for name in ("disk-0.raw", "disk-1.raw"):
        assert (landing / "web1" / name).read_bytes() == (images / "web1" / name).read_bytes()


class Telling(Work):
    """Logs wherever work asks whether it may go on."""

    def check(self) -> None:
        super().check()
        log().info("checked", thread=re.split("[-_]", threading.current_thread().name)[0])


def test_every_thread_of_a_job_logs_its_trace(
    served: Served, images: Path, tmp_path: Path, logged: io.StringIO
) -> None:
    def told(job: str, run: Callable[[Work, Means], dict[str, Any]], **kind: object) -> dict[str, Any]:
        with about(job=job, trace=f"trace of {job}"):
            return run(Telling(work(served, **kind).assignment, SystemClock(), lambda *_: GO_ON), means(served))

    point = told("backup", back_up, backup=backup_of(served, images))["recovery_point"]
    wanted = restore_of(served, point, tmp_path / "landing/web1")
    (tmp_path / "landing").mkdir()
    told("restore", lambda work, means: restore(work, means, [tmp_path / "landing"]), restore=wanted)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    checked = {(line["thread"], line.get("job"), line.get("trace")) for line in lines if line["event"] == "checked"}
    others = {("worker", "backup"), ("upload", "backup"), ("worker", "restore")}
    assert others <= {(thread, job) for thread, job, _ in checked}
    assert all(trace == f"trace of {job}" for _, job, trace in checked)


def test_the_commit_is_announced_with_its_session_and_may_be_forbidden(served: Served, images: Path) -> None:
    announced: list[int] = []

    def report(work: Work, state: int) -> agents_pb2.ReportReply:
        assert state == agents_pb2.ReportRequest.COMMITTING
        announced.append(work.sid)
        return agents_pb2.ReportReply(answer=agents_pb2.ReportReply.STALE)

    with pytest.raises(LeaseLost):
        back_up(work(served, report, backup=backup_of(served, images)), means(served))
    assert announced == [1]
    assert list_points(served.pool).commits == []


def test_a_backup_that_is_cancelled_leaves_no_point_and_its_data_for_the_next(served: Served, images: Path) -> None:
    cancelled = work(served, backup=backup_of(served, images))
    cancelled.cancel("by a person")
    with pytest.raises(WorkCancelled):
        back_up(cancelled, means(served))
    assert list_points(served.pool).commits == []


def test_an_address_that_does_not_answer_is_passed_over(served: Served, images: Path) -> None:
    wanted = backup_of(served, images, "web1", "eni=127.0.0.1:1:1")
    assert back_up(work(served, backup=wanted), means(served))["recovery_point"] == "0000000001"


def test_when_none_answers_for_two_minutes_all_are_named(served: Served, images: Path) -> None:
    wanted = backup_of(served, images)
    wanted.media_agents[0].addresses[:] = ["eni=127.0.0.1:1:1", "vpn=127.0.0.2:1:1"]
    clock = Hurried()
    with pytest.raises(MediaAgentUnreachable, match=r"127\.0\.0\.1.*127\.0\.0\.2"):
        back_up(work(served, backup=wanted), means(served, clock))
    assert clock.looks >= 4


def test_an_agent_that_is_being_restarted_is_waited_for(
    served: Served, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = MediaAgentLine.answers, []

    def late(line: MediaAgentLine, seconds: float) -> None:
        asked.append(line)
        if len(asked) < 3:
            raise PeerUnreachable("connection refused")
        answers(line, seconds)

    monkeypatch.setattr(MediaAgentLine, "answers", late)
    assert back_up(work(served, backup=backup_of(served, images)), means(served))["recovery_point"] == "0000000001"
    assert len(asked) == 3


def test_where_no_agent_is_named_nobody_is_waited_for(served: Served, images: Path) -> None:
    wanted = backup_of(served, images)
    del wanted.media_agents[:]
    with pytest.raises(MediaAgentUnreachable, match="none named"):
        back_up(work(served, backup=wanted), means(served))


def test_a_machine_that_is_gone_is_named(served: Served, images: Path) -> None:
    with pytest.raises(MachineMissing, match="web9"):
        back_up(work(served, backup=backup_of(served, images, "web9")), means(served))


def test_a_restore_goes_nowhere_else_and_over_nothing(served: Served, images: Path, tmp_path: Path) -> None:
    point = back_up(work(served, backup=backup_of(served, images)), means(served))["recovery_point"]
    landing = tmp_path / "landing"
    landing.mkdir()
    with pytest.raises(LandingRefused):
        restore(work(served, restore=restore_of(served, point, tmp_path)), means(served), [landing])
    with pytest.raises(RestoreUnfit, match="found 7"):
        restore(work(served, restore=restore_of(served, point, landing, disks=[7])), means(served), [landing])
    (landing / "disk-1.raw").write_bytes(b"mine")
    with pytest.raises(TargetExists, match=str(landing / "disk-1.raw")):
        restore(work(served, restore=restore_of(served, point, landing, disks=[1])), means(served), [landing])
    assert (landing / "disk-1.raw").read_bytes() == b"mine"


def test_another_attempt_of_a_restore_keeps_the_disks_that_are_finished(
    served: Served, images: Path, tmp_path: Path
) -> None:
    point = back_up(work(served, backup=backup_of(served, images)), means(served))["recovery_point"]
    landing = tmp_path / "landing"
    landing.mkdir()
    (landing / "disk-1.raw").write_bytes(b"in the way")
    wanted = restore_of(served, point, landing)
    with pytest.raises(TargetExists, match=r"disk-1\.raw"):
        restore(work(served, restore=wanted), means(served), [landing])
    first = (landing / "disk-0.raw").stat()
    (landing / "disk-1.raw").unlink()

    result = restore(work(served, restore=wanted), means(served), [landing])

    assert (landing / "disk-0.raw").stat().st_ino == first.st_ino
    assert result["kept_bytes"] == 800_100
    assert sorted(each.name for each in landing.iterdir()) == ["disk-0.raw", "disk-1.raw"]
    for name in ("disk-0.raw", "disk-1.raw"):
        assert (landing / name).read_bytes() == (images / "web1" / name).read_bytes()


def test_a_file_of_somebody_else_is_not_taken_for_a_finished_disk(served: Served, images: Path, tmp_path: Path) -> None:
    point = back_up(work(served, backup=backup_of(served, images)), means(served))["recovery_point"]
    landing = tmp_path / "landing"
    landing.mkdir()
    (landing / "disk-1.raw").write_bytes(b"in the way")
    wanted = restore_of(served, point, landing)
    with pytest.raises(TargetExists):
        restore(work(served, restore=wanted), means(served), [landing])
    (landing / "mine").write_bytes(bytes(800_100))
    (landing / "mine").rename(landing / "disk-0.raw")

    with pytest.raises(TargetExists, match=r"disk-0\.raw"):
        restore(work(served, restore=wanted), means(served), [landing])
