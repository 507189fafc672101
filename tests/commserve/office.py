"""A CommServe without sockets: a database in a directory, a clock that a test sets, a client that speaks REST to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from commserve.access import people
from commserve.access.roles import EVERYTHING, Permission, Scope
from commserve.api.app import make_app
from commserve.ids import Ids
from commserve.inventory import machines
from commserve.jobs.kinds import ROLE, SETTLE, SETTLING
from commserve.jobs.lifecycle import Failure, Report
from commserve.jobs.progress import Answer
from commserve.moments import text_of
from commserve.scheduler import Scheduler
from commserve.services import assemble
from commserve.store.engine import Store, open_store
from commserve.store.migrate import bring_up
from commserve.store.tables import agents, hypervisors, jobs, pool_agents, pools
from commserve.store.tables import machines as machines_table
from commserve.trust.authority import open_authority

ABILITIES = {  # of agents of this release
    role: sorted([*(kind for kind, does in ROLE.items() if does == role), *([SETTLE] if role == SETTLING else [])])
    for role in ("vsa", "mediaagent")
}
START = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday


class SetClock:
    """Goes where it is set to, also back."""

    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment

    def now(self) -> str:
        return text_of(self.moment)

    def monotonic_seconds(self) -> float:
        return (self.moment - START).total_seconds()

    def pass_(self, **span: float) -> datetime:
        self.moment += timedelta(**span)
        return self.moment


def counted_ids() -> Ids:
    numbers = itertools.count()
    return Ids(lambda size: next(numbers).to_bytes(size, "big"))


def open_migrated(directory: Path) -> Store:
    store = open_store(directory / "commserve.db")
    bring_up(store)
    return store


def machine(name: str, **other: Any) -> dict[str, Any]:
    """As a discovery finds one."""
    return {
        "id": f"id-{name}",
        "name": name,
        "folder": "",
        "tags": [],
        "power_state": "on",
        "attributes": {},
        "disks": [{"key": "0", "name": "disk", "size": 1 << 30}],
        "size_bytes": 1 << 30,
        "protectable": True,
        "reason": "",
        "source": "",
        "resource_pool": "",
        "host": "",
        "datastores": [],
        **other,
    }


class Office:
    """The CommServe and its administrator."""

    def __init__(self, directory: Path) -> None:
        self.clock = SetClock()
        self.store = open_migrated(directory)
        authority = open_authority(directory / "authority", START)
        self.services = assemble(self.store, self.clock, authority, "127.0.0.1:8401", ids=counted_ids())
        self.scheduler = Scheduler(self.services)
        self.client = TestClient(make_app(self.services), base_url="http://127.0.0.1", raise_server_exceptions=False)
        self.administrator = self.person("root", "administrator")

    def close(self) -> None:
        self.client.close()
        self.store.close()

    def person(
        self, name: str, role: str | None, scope: Scope = EVERYTHING, permissions: Sequence[Permission] = ()
    ) -> str:
        """A user with one binding; the text of a token."""
        with self.store.writing() as connection:
            ids, now = self.services.ids, self.clock.moment
            user_id = people.make_user(connection, ids, name, None, now)
            if role is not None:
                people.bind(connection, ids, user_id, role, scope, now)
            return people.make_token(connection, ids, user_id, "test", permissions, None, now)[1]

    def ask(self, method: str, path: str, body: object = None, token: str | None = None, **headers: str) -> Any:
        """The response to a request."""
        sent = {"Authorization": f"Bearer {token or self.administrator}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.request(method, f"/api/v1{path}", json=body, headers=sent)

    def get(self, path: str, token: str | None = None) -> Any:
        return good(self.ask("GET", path, token=token))

    def post(self, path: str, body: object = None, token: str | None = None, **headers: str) -> Any:
        return good(self.ask("POST", path, body, token, **headers))

    def put(self, path: str, body: object, token: str | None = None) -> Any:
        return good(self.ask("PUT", path, body, token))

    def all_pages(self, path: str, token: str | None = None) -> list[Any]:
        """Every item of a list."""
        items, cursor = [], ""
        while True:
            separator = "&" if "?" in path else "?"
            page = self.get(f"{path}{separator}limit=1000{cursor and '&cursor=' + cursor}", token)
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = page["next"]

    def hypervisor(self, name: str = "lab", **other: Any) -> str:
        body = {"name": name, "kind": "images", "settings": {"directory": "/srv/images"}, **other}
        return str(self.post("/hypervisors", body)["id"])

    def pool(self, name: str = "pool", agent: str | None = None) -> str:
        """One that is there already: put there by hand."""
        key = self.services.ids.new(self.clock.moment)
        row = {"id": key, "name": name, "url": "file:///pool", "repository_id": f"r-{key}", "state": "ready"}
        with self.store.writing() as connection:
            connection.execute(sa.insert(pools).values(**row, created_at=self.clock.moment))
            if agent is not None:
                connection.execute(sa.insert(pool_agents).values(pool_id=key, agent_id=agent))
        return key

    def agent(self, role: str = "vsa", name: str = "", abilities: Sequence[str] | None = None) -> str:
        """One that joined and is active: put there by hand."""
        key = self.services.ids.new(self.clock.moment)
        row = {"id": key, "role": role, "name": name or f"{role}-{key}", "state": "active", "boot_id": "boot"}
        row |= {"capabilities": ABILITIES[role] if abilities is None else list(abilities)}
        with self.store.writing() as connection:
            connection.execute(sa.insert(agents).values(**row, joined_at=self.clock.moment, seen_at=self.clock.moment))
        return key

    def protect(self, count: int, **plan: Any) -> str:
        """So many machines under one plan, with a pool and somebody who serves it; the plan's id."""
        media = self.agent("mediaagent")
        plan_id = self.plan(
            f"plan-{self.services.ids.new(self.clock.moment)}", pool_id=self.pool(f"p{media}", media), **plan
        )
        lab = self.hypervisor(f"lab-{plan_id}", concurrency=0)
        self.rule(f"rule-{plan_id}", plan_id, names=[f"{plan_id}-*"])
        self.discover(lab, *(machine(f"{plan_id}-{number:04}") for number in range(count)))
        with self.store.writing() as connection:
            connection.execute(sa.update(hypervisors).values(discover_minutes=7 * 24 * 60))
            connection.execute(sa.update(machines_table).values(last_point_at=self.clock.moment))
        return plan_id

    def lease(self, agent_id: str, slots: int = 1, boot_id: str = "boot") -> list[Any]:
        """Asked a moment later than what happened before: the queue is not looked at more often."""
        self.clock.pass_(seconds=0.25)
        with self.store.reading() as connection:
            row = connection.execute(sa.select(agents).where(agents.c.id == agent_id)).one()
        return self.services.dispatch.lease(row, boot_id, slots)

    def report(self, job: Any, state: str, *, failure: Failure | None = None, **other: Any) -> Answer:
        """What the holder of a leased row says of it."""
        with self.store.writing() as connection:
            said = Report(state, failure=failure, **other)
            holder = (job.agent_id, job.assignment_id, job.fence)
            answer, _ = self.services.progress.report(connection, *holder, said, self.clock.moment)
        self.services.bell.ring()
        return answer

    def job(self, key: str) -> Any:
        with self.store.reading() as connection:
            return connection.execute(sa.select(jobs).where(jobs.c.id == key)).one()

    def jobs(self, **equal: Any) -> list[Any]:
        """All jobs, in the order in which they were made."""
        with self.store.reading() as connection:
            wanted = sa.select(jobs).where(*(jobs.c[name] == value for name, value in equal.items()))
            return list(connection.execute(wanted.order_by(jobs.c.id)))

    def look(self, **span: float) -> None:
        """Time passes, and the scheduler looks."""
        self.clock.pass_(**span)
        self.scheduler.look()

    def plan(self, name: str = "gold", **other: Any) -> str:
        return str(self.post("/plans", {"name": name, **other})["id"])

    def rule(self, name: str, plan_id: str | None, position: int = 0, **conditions: Any) -> str:
        body = {"name": name, "plan_id": plan_id, "position": position, "conditions": conditions}
        return str(self.post("/rules", body)["id"])

    def discover(self, hypervisor_id: str, *found: dict[str, Any]) -> list[str]:
        with self.store.writing() as connection:
            return machines.record(connection, hypervisor_id, found, self.clock.moment)


def good(response: Any) -> Any:
    assert response.status_code < 300, response.text
    return response.json() if response.content else None
