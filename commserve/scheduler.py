"""What happens by itself: a look every few seconds at everything that time does.

Each concern has a transaction of its own, so that one that fails does not hold up the others. A look that comes late or
twice does no harm: what is made is unique by its subject or its due instant.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.access import people
from commserve.catalog.expiry import expire_by_retention, ready_pools
from commserve.inventory import leftovers
from commserve.inventory.kinds import FOLLOWED
from commserve.jobs.backlog import start_run, submit
from commserve.jobs.kinds import Wanted
from commserve.jobs.states import ACTIVE, State
from commserve.moments import present
from commserve.plans.promise import Promise
from commserve.plans.schedule import look
from commserve.services import Services
from commserve.store.tables import answers, hypervisors, jobs, plans, pools
from commserve.trust import joining
from runtime.logs import about, log

Concern = Callable[[datetime], bool]

LOOK_SECONDS = 5.0
_READ_POINTS_EVERY = timedelta(hours=1)
_EXPIRE_EVERY = timedelta(hours=1)
_FOLLOW_SECONDS = 3600
_FOLLOW_AGAIN = timedelta(minutes=5)  # after a watch that failed
_KEEP_ANSWERS = timedelta(days=1)


class Scheduler:
    """`run` until told to stop; `look` is one look, which tests call."""

    def __init__(self, services: Services, further: Sequence[Concern] = ()) -> None:
        """`further` are looked at as well; a concern says whether there may be new work."""
        self._services = services
        ours = (
            self._watch,
            self._start_runs,
            self._discover,
            self._follow,
            self._clean,
            self._read_points,
            self._expire,
            self._forget,
        )
        self._concerns: tuple[Concern, ...] = (*ours, *further)
        self._expired_at: datetime | None = None
        self._stop = threading.Event()
        self.looked_at = services.clock.monotonic_seconds()

    def run(self) -> None:
        """One thread's work."""
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def stop(self) -> None:
        self._stop.set()

    def look(self) -> None:
        """Everything that is due now."""
        now = present(self._services.clock)
        for concern in self._concerns:
            self._guarded(concern, now)
        self.looked_at = self._services.clock.monotonic_seconds()

    def _guarded(self, concern: Concern, now: datetime) -> None:
        try:
            if concern(now):
                self._services.bell.ring()
        except Exception as error:  # noqa: BLE001 # the top of a loop that must go on
            log().error("scheduler", concern=concern.__name__.strip("_"), exc_info=error)

    def _watch(self, now: datetime) -> bool:
        with self._services.store.writing() as connection:
            return self._services.progress.watch(connection, now) > 0

    def _start_runs(self, now: datetime) -> bool:
        """Plans that are due, and those that looked at a time which is yet to come: the clock went back."""
        started = False
        due = sa.or_(plans.c.next_due_at <= now, plans.c.looked_at > now)
        with self._services.store.writing() as connection:
            for plan in connection.execute(sa.select(plans).where(plans.c.enabled, due)).all():
                found = look(Promise.model_validate(plan.promise).schedule, plan.looked_at or now, now)
                for due_at in found.due if plan.pool_id is not None else ():
                    with about(trace=self._services.ids.trace()):
                        run_id = start_run(connection, self._services.ids, plan, due_at, now)
                        said = {"plan": plan.name, "due_at": due_at.isoformat(), "skipped": found.skipped}
                        log().info("run due", run=run_id, **said)
                    started = started or run_id is not None
                looked = sa.update(plans).where(plans.c.id == plan.id)
                connection.execute(looked.values(looked_at=now, next_due_at=found.next_due))
        return started

    def _discover(self, now: datetime) -> bool:
        """Hypervisors that were not looked at for as long as they say, nor tried."""
        tried_at = _newest("discover", hypervisors, jobs.c.hypervisor_id, jobs.c.created_at)
        wanted = []
        with self._services.store.writing() as connection:
            for row in connection.execute(sa.select(hypervisors, tried_at.label("tried_at"))):
                last = max((at for at in (row.discovered_at, row.tried_at) if at is not None), default=None)
                if last is None or not timedelta(0) <= now - last < timedelta(minutes=row.discover_minutes):
                    wanted.append(_wanted("discover", f"hypervisor:{row.id}", now, hypervisor_id=row.id))
            return bool(submit(connection, self._services.ids, wanted, now))

    def _follow(self, now: datetime) -> bool:
        """Somebody watches each hypervisor that can be, once its machines are known."""
        last = _newest("watch", hypervisors, jobs.c.hypervisor_id, jobs.c.id)
        followed = hypervisors.c.kind.in_(sorted(FOLLOWED)), hypervisors.c.discovered_at.isnot(None)
        found = sa.select(hypervisors.c.id, jobs.c.state, jobs.c.ended_at).outerjoin(jobs, jobs.c.id == last)
        wanted = []
        with self._services.store.writing() as connection:
            for row in connection.execute(found.where(*followed)):
                waits = row.state == State.FAILED and now - row.ended_at < _FOLLOW_AGAIN
                if row.state not in ACTIVE and not waits:
                    asked = {"hypervisor_id": row.id, "arguments": {"seconds": _FOLLOW_SECONDS}}
                    wanted.append(_wanted("watch", f"watch:{row.id}", now, **asked))
            return bool(submit(connection, self._services.ids, wanted, now))

    def _clean(self, now: datetime) -> bool:
        """Machines at which dead work left something."""
        progress = self._services.progress
        with self._services.store.reading() as connection:
            found = leftovers.wanted(connection, progress, now)
        if not found:
            return False
        with self._services.store.writing() as connection:
            return bool(submit(connection, self._services.ids, found, now))

    def _read_points(self, now: datetime) -> bool:
        """Pools whose points were not read for a while, nor tried."""
        tried_at = _newest("read_points", pools, jobs.c.pool_id, jobs.c.created_at)
        wanted = []
        with self._services.store.writing() as connection:
            ready = sa.select(pools, tried_at.label("tried_at")).where(pools.c.state == "ready")
            for pool in connection.execute(ready):
                last = max((at for at in (pool.read_at, pool.tried_at) if at is not None), default=None)
                if last is None or not timedelta(0) <= now - last < _READ_POINTS_EVERY:
                    wanted.append(_wanted("read_points", f"points:{pool.id}", now, pool_id=pool.id))
            return bool(submit(connection, self._services.ids, wanted, now))

    def _expire(self, now: datetime) -> bool:
        if self._expired_at is not None and timedelta(0) <= now - self._expired_at < _EXPIRE_EVERY:
            return False
        expiring = False
        with self._services.store.writing() as connection:
            for pool in ready_pools(connection):
                decision = expire_by_retention(connection, self._services.ids, pool, now)
                expiring = expiring or bool(decision.expiring)
                for machine_id, why in decision.refused.items():
                    log().warning("nothing expires", pool=pool.name, machine=machine_id, why=why)
        self._expired_at = now
        return expiring

    def _forget(self, now: datetime) -> bool:
        with self._services.store.writing() as connection:
            connection.execute(sa.delete(answers).where(answers.c.created_at < now - _KEEP_ANSWERS))
            self._services.progress.forget(connection, now)
            before = now - self._services.progress.policy.keep
            people.forget_tokens(connection, before)
            joining.forget_tokens(connection, before)
        return False


def _newest(kind: str, owners: sa.Table, owner: sa.Column[Any], column: sa.Column[Any]) -> sa.ScalarSelect[Any]:
    """Of each owner's newest job of a kind, one column: a look into an index, however many jobs there are."""
    mine = sa.select(column).where(jobs.c.kind == kind, owner == owners.c.id).order_by(jobs.c.id.desc()).limit(1)
    return mine.correlate(owners).scalar_subquery()


def _wanted(kind: str, subject: str, now: datetime, **ids: Any) -> Wanted:
    return Wanted(kind=kind, subject=subject, due_at=now, deadline_at=now + timedelta(hours=1), **ids)  # type: ignore[arg-type]
