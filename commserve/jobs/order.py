"""Which queued jobs an agent gets next: a pure function over what is queued and what runs.

Somebody who waits for a restore comes first. Then what is at risk of breaking its promise within the hour before what
is not; among those a fair share for each plan, then for each hypervisor; then the earliest deadline. Some of an agent's
slots stay free for restores. Failing machines wait by `not_before_at`, so that they do not hold the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from commserve.jobs.kinds import URGENT

AT_RISK = timedelta(hours=1)
_RESERVED = 4  # one of so many slots stays free for urgent work


@dataclass(frozen=True)
class Candidate:
    """A queued job."""

    id: str
    kind: str
    urgency: int
    deadline_at: datetime
    not_before_at: datetime
    plan_id: str | None = None
    hypervisor_id: str | None = None
    pool_id: str | None = None
    first: bool = False
    avoided: frozenset[str] = frozenset()
    wanted_agent_id: str | None = None
    host: str = ""  # where its machine runs, and lies; empty where nobody said
    datastores: tuple[str, ...] = ()
    disks: int = 0


@dataclass(frozen=True)
class Limit:
    """Of a plan or hypervisor; 0 is none."""

    jobs: int = 0
    jobs_per_hypervisor: int = 0
    first_backups: int = 0
    is_open: bool = True  # outside its window a plan starts nothing
    jobs_per_host: int = 0
    jobs_per_datastore: int = 0
    disks_per_host: int = 0
    disks: int = 0


@dataclass(frozen=True)
class Asking:
    """The agent that asks, what it can do, and what it can reach; `pools` None: all."""

    id: str
    kinds: frozenset[str]  # one of the release before does not know every kind of work
    free_slots: int
    running: int
    hypervisors: frozenset[str]
    pools: frozenset[str] | None
    others: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by kind: where a job that failed here can go


@dataclass
class Running:
    """How much of each runs, by (what, id...); counted up as jobs are chosen."""

    counts: Counter[tuple[str, ...]]

    def add(self, job: Candidate) -> None:
        for key in keys_of(job):
            self.counts[key] += 1
        self.counts.update(places_of(job))


def places_of(job: Candidate) -> dict[tuple[str, ...], int]:
    """How much a running job counts at its machine's host and datastores."""
    if job.kind != "backup":
        return {}
    hypervisor = job.hypervisor_id or ""
    counts: dict[tuple[str, ...], int] = {("datastore", hypervisor, name): 1 for name in job.datastores}
    counts["all_disks", hypervisor] = job.disks
    if job.host:
        counts |= {("host", hypervisor, job.host): 1, ("disks", hypervisor, job.host): job.disks}
    return counts


def keys_of(job: Candidate) -> list[tuple[str, ...]]:
    """Under what else it counts, once."""
    if job.kind != "backup":
        return []
    plan, hypervisor = job.plan_id or "", job.hypervisor_id or ""
    keys: list[tuple[str, ...]] = [("plan", plan), ("hypervisor", hypervisor), ("both", plan, hypervisor)]
    return [*keys, ("first", plan)] if job.first else keys


def choose(
    queued: Iterable[Candidate],
    asking: Asking,
    running: Running,
    plans: Mapping[str, Limit],
    hypervisors: Mapping[str, Limit],
    now: datetime,
) -> list[Candidate]:
    """The jobs that the agent gets, the most urgent first; never more than its free slots. Counts in `running`.

    Jobs that differ only by deadline are compared once, so this costs by plans, hypervisors and hosts, not by jobs.
    """
    waiting = _grouped(job for job in queued if job.not_before_at <= now and _reaches(asking, job))
    chosen: list[Candidate] = []
    usual_slots = asking.free_slots - (asking.free_slots + asking.running) // _RESERVED
    usual = 0
    while len(chosen) < asking.free_slots:
        heads = [group[-1] for group in waiting if group]
        fitting = [
            job
            for job in heads
            if (usual < usual_slots or job.urgency == URGENT) and _fits(job, running, plans, hypervisors)
        ]
        if not fitting:
            return chosen
        best = min(fitting, key=lambda job: _rank(job, running, now))
        next(group for group in waiting if group and group[-1] is best).pop()
        chosen.append(best)
        usual += best.urgency != URGENT
        running.add(best)
    return chosen


def any_for(queued: Iterable[Candidate], asking: Asking, now: datetime) -> bool:
    """Whether anything waits that the agent could do, were there no limits."""
    return any(job.not_before_at <= now and _reaches(asking, job) for job in queued)


def _grouped(queued: Iterable[Candidate]) -> list[list[Candidate]]:
    """By all that limits and shares look at; in each group the one whose turn is next stands last."""
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for job in queued:
        places = job.host, job.datastores, job.disks
        groups.setdefault((job.kind, job.urgency, job.plan_id, job.hypervisor_id, job.first, *places), []).append(job)
    for group in groups.values():
        group.sort(key=lambda job: (job.deadline_at, job.id), reverse=True)
    return list(groups.values())


def _rank(job: Candidate, running: Running, now: datetime) -> tuple[object, ...]:
    return (
        job.urgency,
        job.deadline_at > now + AT_RISK,
        running.counts["plan", job.plan_id or ""],
        running.counts["hypervisor", job.hypervisor_id or ""],
        job.deadline_at,
        job.id,
    )


def _reaches(asking: Asking, job: Candidate) -> bool:
    if job.wanted_agent_id is not None and job.wanted_agent_id != asking.id:
        return False
    if job.kind not in asking.kinds:
        return False
    if asking.id in job.avoided and not asking.others.get(job.kind, frozenset()) <= job.avoided:
        return False
    if job.hypervisor_id is not None and job.kind != "restore" and job.hypervisor_id not in asking.hypervisors:
        return False
    return asking.pools is None or job.pool_id is None or job.wanted_agent_id is not None or job.pool_id in asking.pools


def _fits(job: Candidate, running: Running, plans: Mapping[str, Limit], hypervisors: Mapping[str, Limit]) -> bool:
    if job.kind != "backup":
        return True
    plan_id, hypervisor_id = job.plan_id or "", job.hypervisor_id or ""
    plan = plans.get(plan_id, Limit())
    bounds = [
        (hypervisors.get(hypervisor_id, Limit()).jobs, ("hypervisor", hypervisor_id)),
        (plan.jobs, ("plan", plan_id)),
        (plan.jobs_per_hypervisor, ("both", plan_id, hypervisor_id)),
    ]
    if job.first:
        bounds.append((plan.first_backups, ("first", plan_id)))
    if job.urgency != URGENT and not plan.is_open:
        return False
    if any(bound and running.counts[key] >= bound for bound, key in bounds):
        return False
    return _has_room(job, running, hypervisors.get(hypervisor_id, Limit()))


def _has_room(job: Candidate, running: Running, limit: Limit) -> bool:
    """At its host and datastores. What has more disks than may ever be read at once is read alone."""
    bounds = {
        "host": limit.jobs_per_host,
        "datastore": limit.jobs_per_datastore,
        "disks": limit.disks_per_host,
        "all_disks": limit.disks,
    }
    counts = running.counts
    return all(
        not bounds[key[0]] or not counts[key] or counts[key] + more <= bounds[key[0]]
        for key, more in places_of(job).items()
    )
