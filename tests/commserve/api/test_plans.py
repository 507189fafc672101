"""Plans over REST, and the previews of what they would keep."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from commserve.store.tables import points
from ingot.cli.service.machine_page import state_of
from tests.commserve.office import START, Office, machine


def test_a_plan_tells_when_it_is_due_next(office: Office) -> None:
    made = office.post("/plans", {"name": "gold", "schedule": {"cron": "0 22 * * *", "time_zone": "Europe/Berlin"}})
    assert made["next_due_at"] == "2026-03-02T21:00:00.000000Z"
    made = office.put(f"/plans/{made['id']}", {"name": "gold", "enabled": False})
    assert made["next_due_at"] is None


def test_what_is_written_is_what_is_read(office: Office) -> None:
    body = {
        "name": "gold",
        "enabled": True,
        "pool_id": office.pool(),
        "schedule": {
            "cron": "15 */4 * * 1-5",
            "time_zone": "America/New_York",
            "windows": [{"days": ["mon", "tue"], "start": "20:00", "end": "06:00"}],
            "blackouts": [{"days": ["sun"], "start": "00:00", "end": "24:00"}],
            "jitter_minutes": 30,
            "missed": "skip",
        },
        "retention": {"last": 1, "hourly": 2, "daily": 3, "weekly": 4, "monthly": 5, "yearly": 6, "floor": 7},
        "limits": {
            "jobs": 1,
            "jobs_per_hypervisor": 2,
            "first_backups": 3,
            "streams": 4,
            "attempts": 5,
            "bandwidth": [{"days": ["mon"], "start": "08:00", "end": "18:00", "bytes_per_second": 1000}],
        },
        "level": 3,
        "sla_minutes": 1500,
    }
    made = office.post("/plans", body)
    assert {name: made[name] for name in body} == body
    assert office.get(f"/plans/{made['id']}") == made


def test_a_preview_without_a_machine_plays_two_years_of_the_schedule(office: Office) -> None:
    body = {"schedule": {"cron": "0 1 * * *"}, "retention": {"daily": 7, "monthly": 12}}
    found = office.post("/plans/retention-preview", body)
    assert found["simulated"]
    assert found["kept"] == 7 + 12 - 2  # the newest of this month and of the last are among the seven days
    assert found["kept"] + found["expiring"] == 2 * 366
    assert found["points"][0]["kept"] == ["daily", "monthly", "floor"]


def test_a_preview_of_a_schedule_of_every_minute_is_bounded(office: Office) -> None:
    found = office.post("/plans/retention-preview", {"schedule": {"cron": "* * * * *"}, "retention": {"hourly": 2}})
    assert found["kept"] == 2
    assert len(found["points"]) <= 3001
    assert found["points"][0]["time"].startswith("2026-03-02T12:00")


def test_a_preview_with_a_machine_judges_its_points(office: Office) -> None:
    office.discover(office.hypervisor(), machine("web"))
    pool = office.pool()
    with office.store.writing() as connection:
        for day in range(5):
            row = {"pool_id": pool, "id": f"{day:010x}", "machine_id": "id-web", "time": START + timedelta(days=day)}
            connection.execute(sa.insert(points).values(**row, marks=["protected"] if day == 0 else []))
    body = {"machine_id": "id-web", "retention": {"daily": 2, "floor": 1}}
    found = office.post("/plans/retention-preview", body)
    assert [point["kept"] for point in found["points"]] == [["daily", "floor"], ["daily"], [], [], ["protected"]]
    assert (found["kept"], found["expiring"], found["simulated"]) == (3, 2, False)


def test_excluding_a_machine_ends_by_itself(office: Office) -> None:
    office.discover(office.hypervisor(), machine("web"))
    office.rule("all", office.plan(sla_minutes=60))
    assert office.get("/machines/id-web")["sla"] == "missed"
    shown = office.put("/machines/id-web/exclusion", {"reason": "moving", "until": "2026-03-03T00:00:00Z"})
    assert (shown["sla"], shown["excluded_by"], shown["excluded_reason"]) == ("excluded", "root", "moving")
    office.clock.pass_(days=1)
    over = office.get("/machines/id-web")
    assert (over["sla"], state_of(over)) == ("missed", "SLA missed"), "and is not shown as one that is left out"
    past = office.ask("PUT", "/machines/id-web/exclusion", {"reason": "moving", "until": "2026-03-03T00:00:00Z"})
    assert (past.status_code, past.json()["detail"][:7]) == (422, "until: ")
