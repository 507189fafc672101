"""What a MediaAgent does for the CommServe, each on a pool that it made itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from media.backup import Backup, Source
from media.faults import CredentialsMissing, CredentialsWrong, RepositoryExists, SessionEnded, SessionForeign
from media.local_log import LocalLog
from media.marks import MarkKind, put_mark, read_marks
from media.recovery_point import Commit, RecoveryPoint, list_points
from media.session import Process, Session
from mediaagent.assignments import Assignments
from mediaagent.faults import PoolBusy, PoolUnknown, RequestRefused
from mediaagent.open_pools import OpenPool, OpenPools, Verify
from mediaagent.pool_store import PoolStore
from mediaagent.pools_served import PoolsServed
from proto import agents_pb2
from proto.agent.work import Work
from proto.sealing import SealBroken, seal, unseal
from runtime.certificates import new_key, public_der
from runtime.clock import SystemClock
from runtime.faults import Fault
from tests.media.fakes import SparseDisk
from tests.media.workbench import MACHINE, begin, noise
from tests.s3.own_server import OwnServer

DATA = noise(1, 300_000)
JOB = "job-1"


class Site:
    """A MediaAgent's pools and assignments without its servers; all it does is for job `JOB`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = SystemClock()
        self.key = new_key()
        self.pages: list[agents_pb2.PointsPage] = []
        self.sessions = 0
        self.start()

    def start(self) -> None:
        self.open = OpenPools()
        self.served = PoolsServed(PoolStore(self.directory / "state", self.clock), [], self.open, Verify.ALL)
        self.served.open_waiting()
        self._work = Assignments(
            self.served, self._open_more, self._read, lambda _: self.sessions, self._unseal, self.clock
        ).handlers()

    def _open_more(self) -> None:
        self.served.open_waiting()

    def _unseal(self, sealed: bytes, owner: str) -> bytes:
        return unseal(sealed, self.key, owner, "ingot://agent/mediaagent/m")

    def sealed(self, credentials: dict[str, str], owner: str = "pool:P") -> bytes:
        public = public_der(self.key.public_key())
        return seal(json.dumps(credentials).encode(), public, owner, "ingot://agent/mediaagent/m")

    def _read(self, pages: Any) -> int:
        self.pages = list(pages)
        return sum(len(page.points) for page in self.pages)

    def do(self, kind: str, message: Any, warnings: int = 0) -> dict[str, Any]:
        assignment = agents_pb2.Assignment(id="a", job=JOB, fence=3, lease_seconds=600, **{kind: message})
        work = Work(assignment, self.clock, lambda *_: agents_pb2.ReportReply())
        result = self._work[kind](work)
        assert len(work.warnings) == warnings, work.warnings
        return result

    def create(self, name: str = "p", *, encrypted: bool = True) -> OpenPool:
        url = (self.directory / name).as_uri()
        made = self.do("create_pool", agents_pb2.CreatePool(name=name, url=url, encrypted=encrypted))
        return self.open.get(made["pool"])

    def begin(self, served: OpenPool, sources: list[Source], parent: Commit | None = None, job: str = JOB) -> LocalLog:
        return begin(served.pool, served.known, served.containers, self.clock, MACHINE, sources, parent, job)

    def back_up(self, served: OpenPool, data: bytes = DATA, parent: Commit | None = None) -> RecoveryPoint:
        sources = [Source("0", SparseDisk.of(data))]
        log = self.begin(served, sources, parent)
        return Backup(log, sources, self.clock, 1, 1, lambda _: None).run({}).point


@contextmanager
def site_in(directory: Path) -> Iterator[Site]:
    site = Site(directory)
    try:
        yield site
    finally:
        site.open.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as site:
        yield site


def pool(served: OpenPool) -> agents_pb2.Pool:
    return agents_pb2.Pool(id=served.id, name=served.name)


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_pool_that_was_created_is_served_again_after_a_restart(site: Site, encrypted: bool) -> None:
    served = site.create(encrypted=encrypted)
    point = site.back_up(served)
    site.open.close()
    site.start()
    again = site.open.get(served.id)
    assert [commit.id for commit in list_points(again.pool).commits] == [point.id]
    keys = list((site.directory / "state").rglob("*.key"))
    assert [key.stat().st_mode & 0o777 for key in keys] == ([0o600] if encrypted else [])


def test_a_creation_that_is_repeated_finds_its_own_pool_and_takes_nobody_elses(site: Site, tmp_path: Path) -> None:
    assert site.create().id == site.create().id
    with site_in(tmp_path / "other") as other:
        request = agents_pb2.CreatePool(name="p", url=(tmp_path / "p").as_uri(), encrypted=True)
        with pytest.raises(Fault):
            other.do("create_pool", request)
        assert not other.open.all()
    site.create("open", encrypted=False)
    with pytest.raises(RepositoryExists):
        site.create("open", encrypted=False)


NEWER = {"access_key_id": "NEWER", "secret_access_key": "another", "session_token": "t"}


def kept_credentials(site: Site) -> list[dict[str, str]]:
    paths = list((site.directory / "state").rglob("s3.json"))
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.usefixtures("credentials")
def test_a_pool_in_s3_uses_the_credentials_that_were_sealed_to_its_media_agent_and_newer_ones(
    site: Site, own_server: OwnServer
) -> None:
    service = own_server.service
    url = service.url(service.new_bucket())
    right = {"access_key_id": service.access_key, "secret_access_key": service.secret_key}
    wrong = right | {"secret_access_key": "not this"}

    def create(sealed: bytes) -> OpenPool:
        asked = agents_pb2.CreatePool(name="cloud", url=url, encrypted=True, sealed_secret=sealed, pool="P")
        return site.open.get(site.do("create_pool", asked)["pool"])

    with pytest.raises(CredentialsWrong):
        create(site.sealed(wrong))
    with pytest.raises(SealBroken):
        create(site.sealed(right, "pool:another"))
    with pytest.raises(CredentialsMissing):
        create(b"")
    assert kept_credentials(site) == []
    served = create(site.sealed(right))
    site.back_up(served)
    own_server.secret_by_access_key = {"NEWER": "another"}
    own_server.accepts_token = lambda token: token == "t"
    for refused in (wrong, right):
        with pytest.raises(CredentialsWrong):
            site.do("keep_secret", agents_pb2.KeepSecret(pool="P", url=url, sealed_secret=site.sealed(refused)))
    assert kept_credentials(site) == [right]
    site.do("keep_secret", agents_pb2.KeepSecret(pool="P", url=url, sealed_secret=site.sealed(NEWER)))
    assert kept_credentials(site) == [NEWER]
    site.back_up(served)
    site.open.close()
    site.start()
    assert len(list_points(site.open.get(served.id).pool).commits) == 2


def test_a_pool_whose_repository_is_away_does_not_hide_the_others(site: Site) -> None:
    one, two = site.create("one"), site.create("two")
    site.open.close()
    (site.directory / "one").rename(site.directory / "away")
    site.start()
    assert [served.id for served in site.open.all()] == [two.id]
    (site.directory / "away").rename(site.directory / "one")
    site.served.open_waiting()
    assert {served.id for served in site.open.all()} == {one.id, two.id}
    assert {seen.id for seen in site.served.seen()} == {one.id, two.id}


def test_points_are_read_back_in_pages_with_their_marks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaagent.assignments._POINTS_A_PAGE", 2)
    served = site.create()
    assert site.do("read_points", agents_pb2.ReadPoints(pool=pool(served))) == {"points": 0}
    assert [page.last for page in site.pages] == [True]
    points = [site.back_up(served) for _ in range(5)]
    put_mark(served.pool, points[0].sid, MarkKind.HOLD, "somebody", "", site.clock)
    assert site.do("read_points", agents_pb2.ReadPoints(pool=pool(served))) == {"points": 5}
    assert [(len(page.points), page.last) for page in site.pages] == [(2, False), (2, False), (1, True)]
    seen = [point for page in site.pages for point in page.points]
    assert [point.id for point in seen] == [point.id for point in points]
    assert list(seen[0].marks) == ["hold"]
    assert (seen[0].disk_bytes, seen[0].data_bytes, seen[0].machine_id) == (len(DATA), len(DATA), MACHINE.id)
    assert seen[0].stored_bytes > len(DATA)


def test_a_register_is_settled_once_and_a_late_commit_finds_the_tombstone(site: Site) -> None:
    """A zombie: its lease moved, the register is read, and then it commits after all."""
    served = site.create()
    sources = [Source("0", SparseDisk.of(DATA))]
    zombie = site.begin(served, sources)
    asked = agents_pb2.ReadRegister(pool=pool(served), sid=zombie.sid)
    assert site.do("read_register", asked) == {"committed": False}
    with pytest.raises(SessionEnded):
        Backup(zombie, sources, site.clock, 1, 1, lambda _: None).run({})
    assert site.do("read_register", asked) == {"committed": False}
    point = site.back_up(served)
    said = site.do("read_register", agents_pb2.ReadRegister(pool=pool(served), sid=point.sid))
    assert (said["committed"], said["recovery_point"], said["new_bytes"]) == (True, point.id, 0)
    with pytest.raises(RequestRefused):
        site.do("read_register", agents_pb2.ReadRegister(pool=pool(served), sid=0))


def test_points_expire_but_those_that_somebody_holds(site: Site) -> None:
    served = site.create()
    points = [site.back_up(served) for _ in range(4)]
    put_mark(served.pool, points[0].sid, MarkKind.HOLD, "somebody", "", site.clock)
    put_mark(served.pool, points[1].sid, MarkKind.VERIFIED, "somebody", "", site.clock)
    asked = agents_pb2.Expire(pool=pool(served), points=[point.id for point in points[:3]], who="plan daily")
    expected = {"expired": [points[1].id, points[2].id]}
    assert site.do("expire", asked, warnings=1) == expected
    assert [commit.id for commit in list_points(served.pool).commits] == [points[0].id, points[3].id]
    assert site.do("expire", asked, warnings=1) == expected, "asked again it says the same"


def test_verification_marks_what_it_read_and_the_next_backup_heals(site: Site) -> None:
    served = site.create()
    first = site.back_up(served)
    asked = agents_pb2.Verify(pool=pool(served))
    assert site.do("verify", asked)["suspect"] == []
    container = next((site.directory / "p").glob("c/*/000000"))
    body = bytearray(container.read_bytes())
    body[len(body) // 2] ^= 1
    container.chmod(0o600)
    container.write_bytes(body)
    found = site.do("verify", asked, warnings=1)
    assert (found["suspect"], found["damaged_containers"]) == ([first.id], 1)
    narrow = agents_pb2.Verify(pool=pool(served), points=[first.id])
    assert site.do("verify", narrow, warnings=1) == {"points": 1, "suspect": [first.id]}
    assert [mark.kind for mark in read_marks(served.pool, first.sid)][-1] is MarkKind.SUSPECT
    healed = site.back_up(served)
    assert healed.statistics["new_bytes"] > 0
    assert site.do("verify", agents_pb2.Verify(pool=pool(served), points=[healed.id]))["suspect"] == []


def test_an_index_is_made_anew_only_while_nobody_uses_it(site: Site) -> None:
    served = site.create()
    point = site.back_up(served)
    site.sessions = 1
    with pytest.raises(PoolBusy):
        site.do("rebuild", agents_pb2.Rebuild(pool=pool(served)))
    site.sessions = 0
    made = site.do("rebuild", agents_pb2.Rebuild(pool=pool(served)))
    assert made["chunks"] == point.statistics["new_chunks"]
    assert site.back_up(site.open.get(served.id)).statistics["new_bytes"] == 0
    with pytest.raises(PoolUnknown):
        site.do("rebuild", agents_pb2.Rebuild(pool=agents_pb2.Pool(id="x")))


def test_a_session_that_never_committed_is_settled_too(site: Site) -> None:
    served = site.create()
    session = Session.begin(served.pool, site.clock, Process("host", 1, JOB))
    session.abort("test")
    asked = agents_pb2.ReadRegister(pool=pool(served), sid=session.sid)
    assert site.do("read_register", asked) == {"committed": False}


def test_a_session_of_another_job_is_neither_ended_nor_answered_whatever_number_a_vsa_names(site: Site) -> None:
    served = site.create()
    sources = [Source("0", SparseDisk.of(DATA))]
    others = [site.begin(served, sources, job=job) for job in ("job-2", "")]
    committed = (
        Backup(site.begin(served, sources, job="job-2"), sources, site.clock, 1, 1, lambda _: None).run({}).point
    )
    registers = [each.name for each in served.pool.repository.list("rp/")]
    nobodys = committed.sid + 1
    for sid in (*(each.sid for each in others), committed.sid, nobodys, (1 << 40) - 1):
        with pytest.raises(SessionForeign):
            site.do("read_register", agents_pb2.ReadRegister(pool=pool(served), sid=sid))
    assert [each.name for each in served.pool.repository.list("rp/")] == registers
    for other in others:
        point = Backup(other, sources, site.clock, 1, 1, lambda _: None).run({}).point
        assert point.sid == other.sid, "it commits as if nothing had been said of it"
    assert site.back_up(served).sid == nobodys
