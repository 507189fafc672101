"""Which job an agent gets next, and how fast running ones may go."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from commserve.jobs.kinds import URGENT, USUAL
from commserve.jobs.order import Asking, Candidate, Limit, Running, choose
from commserve.jobs.rates import Stream, divide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAR = NOW + timedelta(days=3)


def backup(key: str, **other: object) -> Candidate:
    values: dict[str, object] = {
        "kind": "backup",
        "urgency": USUAL,
        "deadline_at": FAR,
        "not_before_at": NOW,
        "plan_id": "p",
        "hypervisor_id": "h",
    }
    return Candidate(id=key, **{**values, **other})  # type: ignore[arg-type]


def restore(key: str) -> Candidate:
    return backup(key, kind="restore", urgency=URGENT, plan_id=None)


def asking(slots: int, running: int = 0, **other: object) -> Asking:
    kinds = frozenset({"backup", "restore"})
    return Asking("a", kinds, slots, running, frozenset("hgk"), None, **other)  # type: ignore[arg-type]


def chosen(
    queued: list[Candidate], who: Asking, plans: dict[str, Limit] | None = None, **hypervisors: Limit
) -> list[str]:
    return [job.id for job in choose(queued, who, Running(Counter()), plans or {}, hypervisors, NOW)]


def test_a_restore_comes_before_every_backup() -> None:
    assert chosen([backup("b", deadline_at=NOW), restore("r")], asking(1)) == ["r"]


def test_what_is_about_to_break_its_promise_comes_before_what_is_not() -> None:
    soon = backup("z", plan_id="busy", deadline_at=NOW + timedelta(minutes=30))
    assert chosen([backup("a", plan_id="idle"), soon], asking(1)) == ["z"]


def test_plans_and_hypervisors_share() -> None:
    many = [backup(f"m{n}", plan_id="big", deadline_at=NOW + timedelta(days=1)) for n in range(9)]
    few = [backup(f"f{n}", plan_id="small") for n in range(3)]
    got = chosen(many + few, asking(3))
    assert [key[0] for key in got] == ["m", "f", "m"]
    two = [backup(f"h{n}") for n in range(3)] + [backup(f"g{n}", hypervisor_id="g") for n in range(3)]
    assert {key[0] for key in chosen(two, asking(2))} == {"h", "g"}


def test_some_slots_stay_free_for_restores() -> None:
    queued = [backup(f"b{n}") for n in range(9)]
    assert len(chosen(queued, asking(8))) == 6
    assert len(chosen(queued, asking(2, running=6))) == 0
    assert chosen([*queued, restore("r")], asking(2, running=6)) == ["r"]
    assert len(chosen(queued, asking(1))) == 1  # an agent with one slot would do nothing at all


def test_a_job_that_waits_for_its_time_holds_nobody_up() -> None:
    failing = [backup(f"f{n}", deadline_at=NOW, not_before_at=NOW + timedelta(minutes=5)) for n in range(20)]
    assert chosen([*failing, backup("well")], asking(1)) == ["well"]


def test_a_closed_window_starts_nothing_but_what_somebody_asked_for() -> None:
    closed = {"p": Limit(is_open=False)}
    assert chosen([backup("b"), backup("asked", urgency=URGENT)], asking(3), closed) == ["asked"]


def test_pools_and_hypervisors_that_an_agent_does_not_reach_are_not_its_business() -> None:
    media = Asking("m", frozenset({"verify", "create_pool"}), 9, 0, frozenset(), frozenset({"mine"}))
    verify = backup("v", kind="verify", hypervisor_id=None, pool_id="mine")
    other = backup("o", kind="verify", hypervisor_id=None, pool_id="other")
    assert chosen([verify, other, backup("b")], media) == ["v"]
    pinned = backup("c", kind="create_pool", hypervisor_id=None, pool_id="new", wanted_agent_id="m")
    assert chosen([pinned], media) == ["c"]
    assert chosen([pinned], asking(3)) == []


candidates = st.lists(
    st.builds(
        backup,
        st.uuids().map(str),
        plan_id=st.sampled_from("pqr"),
        hypervisor_id=st.sampled_from("hgk"),
        first=st.booleans(),
        urgency=st.sampled_from([URGENT, USUAL]),
        deadline_at=st.integers(-100, 100).map(lambda hours: NOW + timedelta(hours=hours)),
        not_before_at=st.sampled_from([NOW, NOW + timedelta(seconds=1)]),
    ),
    max_size=30,
)
limits = st.builds(Limit, st.integers(0, 4), st.integers(0, 3), st.integers(0, 3), st.booleans())


plan_limits = st.fixed_dictionaries(dict.fromkeys("pqr", limits))
hypervisor_limits = st.dictionaries(st.sampled_from("hgk"), limits)


@given(candidates, st.integers(1, 12), plan_limits, hypervisor_limits)
def test_no_limit_is_passed_and_nothing_that_fits_is_left_while_a_slot_is_free(
    queued: list[Candidate], slots: int, plans: dict[str, Limit], hypervisors: dict[str, Limit]
) -> None:
    got = choose(queued, asking(slots), Running(Counter()), plans, hypervisors, NOW)
    assert len(got) <= slots
    assert len({job.id for job in got}) == len(got)

    def within(jobs: list[Candidate]) -> bool:
        for key, plan in plans.items():
            mine = [job for job in jobs if job.plan_id == key]
            per = Counter(job.hypervisor_id for job in mine)
            if plan.jobs and len(mine) > plan.jobs:
                return False
            if plan.jobs_per_hypervisor and max(per.values(), default=0) > plan.jobs_per_hypervisor:
                return False
            if plan.first_backups and sum(job.first for job in mine) > plan.first_backups:
                return False
            if not plan.is_open and any(job.urgency != URGENT for job in mine):
                return False
        return all(not h.jobs or sum(job.hypervisor_id == k for job in jobs) <= h.jobs for k, h in hypervisors.items())

    assert within(got)
    assert all(job.not_before_at <= NOW for job in got)
    usual = sum(job.urgency != URGENT for job in got)
    if len(got) < slots:
        for job in queued:
            if job not in got and job.not_before_at <= NOW and (job.urgency == URGENT or usual < slots - slots // 4):
                assert not within([*got, job])


streams = st.lists(
    st.builds(Stream, st.uuids().map(str), st.integers(0, 8), st.lists(st.sampled_from("abc"), unique=True).map(tuple)),
    max_size=12,
)


@given(streams, st.dictionaries(st.sampled_from("abc"), st.integers(100, 10**9)))
def test_shares_of_a_limit_never_exceed_it_together(running: list[Stream], bounds: dict[str, int]) -> None:
    rates = divide(running, bounds)
    for name, bound in bounds.items():
        under = [stream for stream in running if name in stream.under]
        assert all(rates[stream.job_id] > 0 for stream in under)
        assert sum(rates[stream.job_id] for stream in under) <= bound + len(under)  # a byte each is the least
    for stream in running:
        assert (rates[stream.job_id] == 0) == (not set(stream.under) & set(bounds))


@given(streams, st.dictionaries(st.sampled_from("abc"), st.integers(100, 10**9)))
def test_nobody_waits_while_there_is_room(running: list[Stream], bounds: dict[str, int]) -> None:
    """Every job that is limited is under a limit that is used up, but for what rounding leaves."""
    rates = divide(running, bounds)
    under = {name: [stream for stream in running if name in stream.under] for name in bounds}
    full = {n for n in bounds if sum(rates[stream.job_id] for stream in under[n]) > bounds[n] - len(under[n]) - 1}
    for stream in running:
        if rates[stream.job_id]:
            assert full & set(stream.under)


def test_a_limit_is_shared_by_streams_and_the_tightest_counts() -> None:
    running = [Stream("1", 3, ("plan", "agent")), Stream("2", 1, ("plan",))]
    assert divide(running, {"plan": 400}) == {"1": 300, "2": 100}
    assert divide(running, {"plan": 400, "agent": 50}) == {"1": 50, "2": 350}, "what one cannot take is the other's"
    assert divide(running, {}) == {"1": 0, "2": 0}


PLACES = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["", "h1", "h2"]),
        "datastores": st.sets(st.sampled_from(["d1", "d2", "d3"])).map(lambda names: tuple(sorted(names))),
        "disks": st.integers(1, 4),
    }
)


@given(st.lists(PLACES, max_size=12), st.integers(0, 3), st.integers(0, 3), st.integers(0, 5), st.integers(0, 9))
def test_a_host_and_a_datastore_get_no_more_than_they_bear_and_nothing_that_fits_waits(
    places: list[dict[str, Any]], per_host: int, per_datastore: int, disks_per_host: int, disks: int
) -> None:
    limit = Limit(jobs_per_host=per_host, jobs_per_datastore=per_datastore, disks_per_host=disks_per_host, disks=disks)
    queued = [backup(str(number), hypervisor_id="h", **place) for number, place in enumerate(places)]
    got = choose(queued, asking(100), Running(Counter()), {}, {"h": limit}, NOW)

    def bears(jobs: list[Candidate]) -> bool:
        for host in ("h1", "h2"):
            there = [job for job in jobs if job.host == host]
            if per_host and len(there) > per_host:
                return False
            if disks_per_host and sum(job.disks for job in there) > disks_per_host and len(there) > 1:
                return False
        if disks and sum(job.disks for job in jobs) > disks and len(jobs) > 1:
            return False
        stores = Counter(name for job in jobs for name in job.datastores)
        return not per_datastore or all(count <= per_datastore for count in stores.values())

    assert bears(got)
    slots = 100 - 100 // 4
    assert len(got) <= slots
    assert not any(bears([*got, job]) for job in queued if job not in got)
