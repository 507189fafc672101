"""Asking again: what, how often, and what a refusal means then."""

from __future__ import annotations

import pytest

from media.faults import (
    CredentialsExpired,
    ObjectExists,
    ObjectMissing,
    RepositoryBusy,
    RepositoryFault,
    RepositoryFull,
    RepositoryUnreachable,
    RepositoryUnsynced,
)
from media.repository.memory import MemoryRepository
from media.repository.retrying import ATTEMPTS, Retrying
from tests.faults.failing_repository import FailingRepository
from tests.media.fakes import FakeClock
from tests.s3.own_server import Misbehaviour, OwnServer

NAME = "rp/0000000001"


def retrying(inner: FailingRepository, clock: FakeClock | None = None) -> Retrying:
    return Retrying(inner, clock or FakeClock(), lambda: 0.5)


@pytest.mark.parametrize("after", [False, True])
def test_a_put_whose_outcome_was_unknown_succeeds_when_its_own_bytes_lie_there(after: bool) -> None:
    inner = FailingRepository(MemoryRepository(), 1, RepositoryUnreachable, after=after, times=3)
    retrying(inner).put_new(NAME, b"ours")
    assert inner.inner.get(NAME) == b"ours"


def test_a_put_that_finds_somebody_elses_bytes_is_refused_however_often_it_was_asked() -> None:
    memory = MemoryRepository()
    memory.put_new(NAME, b"theirs")
    with pytest.raises(ObjectExists):
        retrying(FailingRepository(memory, 1, RepositoryBusy)).put_new(NAME, b"ours")


def test_a_put_that_is_refused_at_once_is_refused_even_if_the_bytes_are_equal() -> None:
    memory = MemoryRepository()
    memory.put_new(NAME, b"same")
    with pytest.raises(ObjectExists):
        Retrying(memory, FakeClock()).put_new(NAME, b"same")


def test_waits_grow_to_half_a_minute_and_end() -> None:
    clock = FakeClock()
    inner = FailingRepository(MemoryRepository(), 1, RepositoryBusy, times=1000)
    with pytest.raises(RepositoryBusy):
        retrying(inner, clock).get(NAME)
    waits = [0.75 * min(30.0, 0.2 * 2**n) for n in range(ATTEMPTS - 1)]
    assert clock.seconds == pytest.approx(sum(waits))


@pytest.mark.parametrize("fault", [RepositoryFull, RepositoryUnsynced, CredentialsExpired, ObjectMissing])
def test_what_no_waiting_mends_is_raised_at_once(fault: type[RepositoryFault]) -> None:
    clock = FakeClock()
    with pytest.raises(fault):
        retrying(FailingRepository(MemoryRepository(), 1, fault), clock).get(NAME)
    assert clock.seconds == 0


def test_a_listing_that_breaks_goes_on_after_the_last_name() -> None:
    memory = MemoryRepository()
    names = [f"sess/{number:010x}" for number in range(1, 8)]
    for name in names:
        memory.put_new(name, b"")
    listed = list(retrying(FailingRepository(memory, 1, RepositoryUnreachable, times=5)).list("sess/"))
    assert [entry.name for entry in listed] == names


@pytest.mark.parametrize("how", ["throttle", "fail", "conflict", "reset", "lose the reply", "cut"])
def test_a_bad_day_of_a_real_connection_is_outlived(own_server: OwnServer, how: Misbehaviour) -> None:
    repository = own_server.service.repository(own_server.service.new_bucket(), clock=FakeClock())
    body = bytes(range(256)) * 4000
    own_server.misbehave(how, after=1, times=3)
    repository.put_new(NAME, body)
    for call in (
        lambda: repository.get(NAME) == body,
        lambda: repository.get_extent(NAME, 5, 5) == body[5:10],
        lambda: repository.get_tail(NAME, 100) == (body[-100:], len(body)),
        lambda: [entry.name for entry in repository.list("rp/")] == [NAME],
    ):
        own_server.misbehave(how, times=3)
        assert call()
    own_server.misbehave(how, times=3)
    repository.delete(NAME)
    assert list(repository.list("")) == []
