"""How many leases a second one CommServe gives out on SQLite: `python -m bench.leases [jobs] [agents]`.

Real claims in a file on disk: agents in threads lease one backup at a time, report it done and lease the next, while
the rest of the queue waits. A claim, its report, the run's count and the machine's are what a real one costs; only the
wire is missing.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import sqlalchemy as sa

from commserve.jobs.lifecycle import Report
from commserve.moments import present
from commserve.services import Services, assemble
from commserve.store.tables import agents as agents_table
from commserve.trust.authority import open_authority
from runtime.clock import SystemClock
from tests.commserve.office import Office

_SECONDS = 8.0


def main(jobs: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        office = Office(Path(directory))
        plans = [office.protect(jobs // 4, schedule={"cron": ""}) for _ in range(4)]
        vsas = [office.agent() for _ in range(count)]
        clock = SystemClock()
        services = assemble(
            office.store, clock, open_authority(Path(directory) / "authority", present(clock)), "127.0.0.1:0"
        )
        for plan in plans:
            office.post(f"/plans/{plan}/run")
        for report in (False, True):
            _measure(services, vsas, report=report)
        office.close()


def _measure(services: Services, vsas: list[str], *, report: bool) -> None:
    leased = [0] * len(vsas)
    stop = threading.Event()

    def work(number: int) -> None:
        with services.store.reading() as connection:
            row = connection.execute(sa.select(agents_table).where(agents_table.c.id == vsas[number])).one()
        while not stop.is_set():
            for job in services.dispatch.lease(row, "boot", 1):
                leased[number] += 1
                if report:
                    _done(services, job)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(vsas))]
    start, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    stop.wait(_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    seconds, spent = time.perf_counter() - start, time.process_time() - cpu
    with services.store.reading() as connection:
        waiting = connection.exec_driver_sql("SELECT count(*) FROM jobs WHERE state = 'QUEUED'").scalar()
    what = "leases, each reported done" if report else "leases"
    print(
        f"{sum(leased) / seconds:.0f} {what} a second ({len(vsas)} agents, {waiting} jobs left, {spent:.1f} s of CPU)"
    )


def _done(services: Services, job: sa.Row[tuple[object, ...]]) -> None:
    with services.store.writing() as connection:
        holder = (job.agent_id, job.assignment_id, job.fence)
        services.progress.report(connection, *holder, Report("DONE"), present(services.clock))


if __name__ == "__main__":
    main(*(int(text) for text in (*sys.argv[1:], *("12000", "8")[len(sys.argv) - 1 :])))
