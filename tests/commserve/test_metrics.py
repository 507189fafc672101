"""What Prometheus is told is what is so."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from commserve.metrics import Figures
from tests.commserve.office import Office


def test_figures_are_counted_when_they_are_asked_for(office: Office) -> None:
    registry = CollectorRegistry()
    Figures(office.services, registry)
    plan = office.protect(3, schedule={"cron": ""}, sla_minutes=60)
    vsa = office.agent(name="v")
    office.clock.pass_(hours=2)
    office.post(f"/plans/{plan}/run")
    (job,) = office.lease(vsa)
    office.report(job, "DONE")
    told = generate_latest(registry).decode().splitlines()
    for expected in (
        'ingot_jobs_active{kind="backup",state="QUEUED"} 2.0',
        'ingot_jobs_ended_last_day{kind="backup",state="DONE"} 1.0',
        'ingot_machines{state="protected"} 3.0',
        'ingot_machines{state="late"} 3.0',
        'ingot_agent_up{agent="v",role="vsa"} 0.0',
        "ingot_points 0.0",
    ):
        assert expected in told
