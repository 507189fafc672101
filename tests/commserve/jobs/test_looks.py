"""What is looked at every few seconds costs by what is due, not by all the jobs that there ever were."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from sqlalchemy import event

from commserve.jobs.lifecycle import Failure
from commserve.metrics import Figures
from commserve.store.tables import agents, hypervisors, jobs, pools
from runtime.faults import Retry
from tests.commserve.jobs.test_following import vcenter
from tests.commserve.office import Office, machine

_TABLES = "(jobs|leases|answers|runs)"
_WHOLE = re.compile(rf"SCAN {_TABLES}\b|SEARCH {_TABLES}(?! USING)")  # a search without an index looks at every row


@contextmanager
def asked(office: Office) -> Iterator[list[tuple[str, Any]]]:
    """Every statement, with what it was given."""
    found: list[tuple[str, Any]] = []

    def take(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
        one_of_many = bool(given) and isinstance(given[0], tuple)
        found.append((statement, given[0] if one_of_many else given))

    event.listen(office.store.engine, "before_cursor_execute", take)
    yield found
    event.remove(office.store.engine, "before_cursor_execute", take)


def whole_tables(office: Office, statements: list[tuple[str, Any]]) -> set[str]:
    """The statements for which a table is read from one end to the other, with their plans."""
    found = set()
    with office.store.engine.connect() as connection:
        cursor = connection.connection.cursor()
        for statement, given in statements:
            if not statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
                continue
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", given)
            plan = "\n".join(row[3] for row in cursor.fetchall())
            if _WHOLE.search(plan):
                found.add(f"{statement}\n{plan}")
    return found


def busy(office: Office) -> None:
    """Whatever a look finds something of: due plans, lost and stranded jobs, hypervisors and pools to look at."""
    vsa = office.agent()
    office.protect(3, schedule={"cron": "*/30 * * * *"}, retention={"last": 1})
    office.discover(vcenter(office, vsa), machine("web"))
    office.pool("second", office.agent("mediaagent"))
    office.look(minutes=31)
    office.lease(vsa, 2)
    with office.store.writing() as connection:
        connection.execute(sa.update(hypervisors).values(discover_minutes=1))
        connection.execute(sa.update(pools).values(read_at=office.clock.moment))
        gone = sa.update(agents).where(agents.c.role == "mediaagent")
        connection.execute(gone.values(state="revoked", revoked_at=office.clock.moment))


def test_no_look_reads_all_jobs(office: Office) -> None:
    busy(office)
    with asked(office) as statements:
        office.look(minutes=65)
        office.look(days=100)
        assert list(Figures(office.services, CollectorRegistry()).collect())
    said = " ".join(statement for statement, _ in statements)
    for part in ("FROM hypervisors", "FROM plans", "FROM pools", "DELETE FROM jobs", "DELETE FROM answers", "leases"):
        assert part in said, part
    assert whole_tables(office, statements) == set()


def test_a_table_that_is_read_whole_would_be_seen(office: Office) -> None:
    with asked(office) as statements, office.store.reading() as connection:
        connection.execute(sa.select(sa.func.max(jobs.c.created_at)).where(jobs.c.phase == "x"))
    assert len(whole_tables(office, statements)) == 1


def test_what_was_tried_last_decides_when_it_is_tried_again(office: Office) -> None:
    """Against all jobs looked at one by one, over some hours with failures."""
    vsa = office.agent()
    media = office.agent("mediaagent")
    office.pool("main", media)
    lab = office.hypervisor(discover_minutes=10)
    other = office.hypervisor("other", discover_minutes=60)
    for step in range(40):
        office.look(minutes=7)
        for job in [*office.lease(vsa, 4), *office.lease(media, 4)]:
            failure = Failure("vsa.hypervisor_refused", "no", Retry.NEVER)
            office.report(job, "FAILED" if step % 3 else "DONE", failure=failure if step % 3 else None)
    for kind, owner, every in (
        ("discover", {"hypervisor_id": lab}, timedelta(minutes=10)),
        ("discover", {"hypervisor_id": other}, timedelta(minutes=60)),
        ("read_points", {}, timedelta(hours=1)),
    ):
        made = [job.created_at for job in office.jobs(kind=kind, **owner)]
        gaps = [later - earlier for earlier, later in itertools.pairwise(made)]
        assert gaps
        assert all(every <= gap < every + timedelta(minutes=8) for gap in gaps), (kind, gaps)
