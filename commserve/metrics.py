"""What Prometheus is told: counted in the database when it asks, so that any number of processes say the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from commserve.jobs.states import ACTIVE, State
from commserve.moments import present
from commserve.plans.promise import Promise
from commserve.plans.sla import is_met
from commserve.services import Services
from commserve.store.tables import agents, jobs, machines, plans, points

_DAY = timedelta(days=1)
_HEARD = timedelta(minutes=1)


class Figures(Collector):
    """Registered once."""

    def __init__(self, services: Services, registry: CollectorRegistry) -> None:
        self._services = services
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: the database is asked when the figures are."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = present(self._services.clock)
        with self._services.store.reading() as connection:
            yield from _jobs(connection, now)
            yield from _agents(connection, now)
            yield from _machines(connection, now)
            yield from _points(connection)


def _jobs(connection: sa.Connection, now: datetime) -> Iterator[GaugeMetricFamily]:
    active = GaugeMetricFamily("ingot_jobs_active", "Jobs that did not end yet", labels=["kind", "state"])
    grouped = sa.select(jobs.c.kind, jobs.c.state, sa.func.count()).group_by(jobs.c.kind, jobs.c.state)
    for kind, state, count in connection.execute(grouped.where(jobs.c.state.in_(ACTIVE))):
        active.add_metric([kind, state], count)
    yield active
    ended = GaugeMetricFamily("ingot_jobs_ended_last_day", "Jobs that ended in 24 hours", labels=["kind", "state"])
    for kind, state, count in connection.execute(grouped.where(jobs.c.ended_at > now - _DAY)):
        ended.add_metric([kind, state], count)
    yield ended
    oldest = sa.select(sa.func.min(jobs.c.not_before_at)).where(jobs.c.state == State.QUEUED)
    since = connection.execute(oldest).scalar()
    waiting = 0.0 if since is None else max(0.0, (now - since).total_seconds())
    yield GaugeMetricFamily("ingot_jobs_oldest_wait_seconds", "Of the job that waits longest", waiting)


def _agents(connection: sa.Connection, now: datetime) -> Iterator[GaugeMetricFamily]:
    heard = GaugeMetricFamily("ingot_agent_up", "Heard within a minute", labels=["agent", "role"])
    ends = GaugeMetricFamily(
        "ingot_agent_certificate_expires_seconds", "Until its certificate ends", labels=["agent", "role"]
    )
    for row in connection.execute(sa.select(agents).where(agents.c.state != "revoked")):
        heard.add_metric([row.name, row.role], float(row.seen_at is not None and now - row.seen_at < _HEARD))
        if row.certificate_expires_at is not None:
            ends.add_metric([row.name, row.role], (row.certificate_expires_at - now).total_seconds())
    yield heard
    yield ends


def _machines(connection: sa.Connection, now: datetime) -> Iterator[GaugeMetricFamily]:
    promises = {row.id: Promise.model_validate(row.promise) for row in connection.execute(sa.select(plans))}
    counts = {"protected": 0, "unprotected": 0, "late": 0, "failing": 0}
    columns = (machines.c.plan_id, machines.c.last_point_at, machines.c.strikes)
    for row in connection.execute(sa.select(*columns).where(machines.c.gone_at.is_(None))):
        counts["unprotected" if row.plan_id is None else "protected"] += 1
        counts["failing"] += row.strikes > 0
        counts["late"] += row.plan_id is not None and not is_met(promises[row.plan_id], row.last_point_at, now)
    family = GaugeMetricFamily("ingot_machines", "Machines by how well they are protected", labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    yield family


def _points(connection: sa.Connection) -> Iterator[GaugeMetricFamily]:
    live = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(points.c.stored_bytes), 0))
    count, stored = connection.execute(live.where(points.c.expired.is_(False))).one()
    yield GaugeMetricFamily("ingot_points", "Recovery points that are not expired", count)
    yield GaugeMetricFamily("ingot_points_stored_bytes", "What they stored when they were made", stored)
