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
from commserve.access.attempts import Attempts
from commserve.access.roles import EVERYTHING, Permission, Scope
from commserve.api.app import make_app
from commserve.ids import Ids
from commserve.inventory import machines
from commserve.moments import text_of
from commserve.services import Services
from commserve.store.engine import Store, open_store
from commserve.store.migrate import bring_up
from commserve.store.tables import pools

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
        **other,
    }


class Office:
    """The CommServe and its administrator."""

    def __init__(self, directory: Path) -> None:
        self.clock = SetClock()
        self.store = open_migrated(directory)
        self.services = Services(self.store, self.clock, Attempts(self.clock), counted_ids())
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

    def pool(self, name: str = "pool") -> str:
        """One that an agent made: put there by hand."""
        key = self.services.ids.new(self.clock.moment)
        row = {"id": key, "name": name, "url": "file:///pool", "repository_id": f"r-{key}", "state": "ready"}
        with self.store.writing() as connection:
            connection.execute(sa.insert(pools).values(**row, created_at=self.clock.moment))
        return key

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
