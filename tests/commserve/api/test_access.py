"""The whole matrix: every route for every role, on what a binding covers and on what it does not."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from fastapi.routing import APIRoute

from commserve.access.roles import EVERYTHING, ROLES, Permission, Scope
from commserve.api import app as application
from commserve.store.tables import points
from tests.commserve.office import Office, machine

PLAN = {"name": "changed"}
HYPERVISOR = {"name": "changed", "kind": "images", "settings": {"directory": "/x"}}
POOL = {"name": "new", "url": "file:///new", "agents": ["{a}"]}
RESTORE = {"pool_id": "{o}", "point": "0000000001", "directory": "/restored", "agent_id": "{v}"}
SECRET = {"secret": {"access_key_id": "a", "secret_access_key": "b"}}
EXPIRE = {"pool_id": "{o}", "points": ["0000000001"]}
EXCLUSION = {"reason": "moving", "until": "2030-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Route:
    """`needs` on the thing itself; `{h}`, `{p}`, `{r}`, `{m}` stand for the first hypervisor, plan, rule, machine."""

    method: str
    path: str
    needs: Permission
    body: object = None
    on_everything: bool = False  # a binding on less is not enough
    like: str = ""  # the resource whose scopes count, where the path names another
    then: int = 0  # what who may hears, where things are so that it does not go well


ROUTES = [
    Route("GET", "/hypervisors/{h}", Permission.HYPERVISORS_READ),
    Route("PUT", "/hypervisors/{h}", Permission.HYPERVISORS_WRITE, HYPERVISOR),
    Route("DELETE", "/hypervisors/{h}", Permission.HYPERVISORS_WRITE),
    Route("POST", "/hypervisors", Permission.HYPERVISORS_WRITE, HYPERVISOR, on_everything=True),
    Route("GET", "/machines/{m}", Permission.MACHINES_READ),
    Route("PUT", "/machines/{m}/exclusion", Permission.MACHINES_WRITE, EXCLUSION),
    Route("DELETE", "/machines/{m}/exclusion", Permission.MACHINES_WRITE),
    Route("GET", "/rules/{r}", Permission.RULES_READ),
    Route("POST", "/rules", Permission.RULES_WRITE, {"name": "new"}, on_everything=True),
    Route("POST", "/rules/preview", Permission.RULES_READ, {}, on_everything=True),
    Route("PUT", "/rules/{r}", Permission.RULES_WRITE, {"name": "changed"}, on_everything=True),
    Route("DELETE", "/rules/{r}", Permission.RULES_WRITE, on_everything=True),
    Route("GET", "/plans/{p}", Permission.PLANS_READ),
    Route("PUT", "/plans/{p}", Permission.PLANS_WRITE, PLAN),
    Route("POST", "/plans", Permission.PLANS_WRITE, PLAN, on_everything=True),
    Route("POST", "/plans/retention-preview", Permission.PLANS_READ, {"machine_id": "{m}"}, like="machines"),
    Route("DELETE", "/plans/{p}", Permission.PLANS_WRITE, then=409),  # a rule names it
    Route("POST", "/plans/{p}/run", Permission.JOBS_RUN),
    Route("POST", "/hypervisors/{h}/discover", Permission.JOBS_RUN),
    Route("POST", "/hypervisors/{h}/check", Permission.JOBS_RUN),
    Route("POST", "/hypervisors/{h}/adopt", Permission.HYPERVISORS_WRITE, {"old": "{s}"}, on_everything=True),
    Route("POST", "/machines/{m}/backup", Permission.JOBS_RUN),
    Route("POST", "/machines/{m}/clean", Permission.MACHINES_WRITE, {}, then=409),  # nothing is left there
    Route("GET", "/jobs/{j}", Permission.JOBS_READ),
    Route("GET", "/jobs/{j}/leases", Permission.JOBS_READ),
    Route("GET", "/jobs/{j}/events", Permission.JOBS_READ),
    Route("POST", "/jobs/{j}/cancel", Permission.JOBS_RUN),
    Route("POST", "/jobs/{f}/retry", Permission.JOBS_RUN),
    Route("GET", "/runs/{n}", Permission.JOBS_READ),
    Route("POST", "/restores", Permission.POINTS_RESTORE, RESTORE),
    Route("POST", "/points/expire", Permission.POINTS_EXPIRE, EXPIRE, on_everything=True),
    Route("GET", "/pools/{o}", Permission.POOLS_READ, on_everything=True),
    Route("POST", "/pools", Permission.POOLS_WRITE, POOL, on_everything=True),
    Route("PUT", "/pools/{o}", Permission.POOLS_WRITE, {"name": "changed"}, on_everything=True),
    Route("PUT", "/pools/{o}/secret", Permission.POOLS_WRITE, SECRET, on_everything=True, then=422),  # is no s3://
    Route("POST", "/pools/{o}/read", Permission.POOLS_WRITE, on_everything=True),
    Route("POST", "/pools/{o}/verify", Permission.POOLS_WRITE, on_everything=True),
    Route("POST", "/pools/{o}/rebuild", Permission.POOLS_WRITE, on_everything=True),
    Route("DELETE", "/pools/{e}", Permission.POOLS_WRITE, on_everything=True),
    Route("GET", "/agents/{a}", Permission.AGENTS_READ, on_everything=True),
    Route("PUT", "/agents/{a}", Permission.AGENTS_WRITE, {"bytes_per_second": 1}, on_everything=True),
    Route("POST", "/agents/{a}/drain", Permission.AGENTS_WRITE, on_everything=True),
    Route("POST", "/agents/{a}/resume", Permission.AGENTS_WRITE, on_everything=True),
    Route("POST", "/agents/{a}/revoke", Permission.AGENTS_WRITE, on_everything=True),
    Route("POST", "/join-tokens", Permission.AGENTS_WRITE, {"role": "vsa", "name": "new"}, on_everything=True),
    Route("DELETE", "/join-tokens/{t}", Permission.AGENTS_WRITE, on_everything=True),
    Route("GET", "/users/{u}", Permission.USERS_READ, on_everything=True),
    Route("POST", "/users", Permission.USERS_WRITE, {"name": "new"}, on_everything=True),
    Route("PUT", "/users/{u}", Permission.USERS_WRITE, {"name": "changed"}, on_everything=True),
    Route("DELETE", "/users/{u}", Permission.USERS_WRITE, on_everything=True),
    Route("POST", "/tokens", Permission.USERS_WRITE, {"name": "t", "user_id": "{u}"}, on_everything=True),
    Route("DELETE", "/tokens/{k}", Permission.USERS_WRITE, on_everything=True),
    Route("DELETE", "/bindings/{b}", Permission.USERS_WRITE, on_everything=True),
    Route("POST", "/bindings", Permission.USERS_WRITE, {"user_id": "{u}", "role": "operator"}, on_everything=True),
]
EVERYBODYS = ("/agents", "/pools", "/join-tokens", "/users", "/bindings")
LISTS = {
    "/hypervisors": Permission.HYPERVISORS_READ,
    "/machines": Permission.MACHINES_READ,
    "/rules": Permission.RULES_READ,
    "/plans": Permission.PLANS_READ,
    "/jobs": Permission.JOBS_READ,
    "/runs": Permission.JOBS_READ,
    "/points": Permission.POINTS_READ,
}


class World:
    """Two of everything; the first hypervisor's machine has the first rule and plan."""

    points = ("0000000001", "0000000002")

    def __init__(self, office: Office) -> None:
        self.office = office
        self.first: dict[str, str] = {}
        self.second: dict[str, str] = {}
        for of, name in ((self.first, "one"), (self.second, "two")):
            of["h"] = office.hypervisor(name)
            of["p"] = office.plan(name)
            of["r"] = office.rule(name, of["p"], names=[name])
            office.discover(of["h"], machine(name))
            of["m"] = f"id-{name}"
        media, vsa = office.agent("mediaagent"), office.agent()
        pool = office.pool("main", media)
        for of in (self.first, self.second):
            office.put(f"/plans/{of['p']}", {"name": of["m"], "pool_id": pool, "schedule": {"cron": ""}})
            of["n"] = office.post(f"/plans/{of['p']}/run")["id"]
            of["j"] = office.jobs(machine_id=of["m"])[0].id
        office.post(f"/jobs/{self.first['j']}/cancel")
        self.first["f"] = self.first["j"]
        others = {"u": office.post("/users", {"name": "somebody"})["id"], "o": pool, "e": office.pool("empty")}
        others |= {"a": media, "v": vsa, "t": office.post("/join-tokens", {"role": "vsa", "name": "x"})["id"]}
        others["k"] = office.get("/tokens")["items"][0]["id"]
        others["b"] = office.post("/bindings", {"user_id": others["u"], "role": "viewer"})["id"]
        self.first |= {**others, "s": self.second["h"]}
        self.second |= {**others, "s": self.first["h"]}
        with office.store.writing() as connection:
            for point, of in zip(self.points, self.both, strict=True):
                row = {"pool_id": pool, "id": point, "machine_id": of["m"], "time": office.clock.moment}
                connection.execute(sa.insert(points).values(**row))

    @property
    def both(self) -> tuple[dict[str, str], dict[str, str]]:
        return self.first, self.second

    def scopes(self, of: dict[str, str]) -> dict[str, Scope]:
        return {
            "hypervisor": Scope("hypervisor", of["h"]),
            "plan": Scope("plan", of["p"]),
            "group": Scope("group", of["r"]),
        }


def _kinds_of(path: str) -> tuple[str, ...]:
    """The kinds of scope in which the thing of a path lies."""
    room = path.removeprefix("/").split("/")[0]
    return {
        "hypervisors": ("hypervisor",),
        "machines": ("hypervisor", "plan", "group"),
        "rules": ("plan", "group"),
        "plans": ("plan",),
        "jobs": ("hypervisor", "plan", "group"),
        "runs": ("plan",),
        "restores": ("hypervisor", "plan", "group"),
        "points": ("hypervisor", "plan", "group"),
    }.get(room, ())


def _fill(body: object, ids: dict[str, str]) -> object:
    if isinstance(body, dict):
        return {key: _fill(value, ids) for key, value in body.items()}
    if isinstance(body, list):
        return [_fill(value, ids) for value in body]
    return body.format(**ids) if isinstance(body, str) else body


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_does_what_role_and_scope_allow_and_nothing_else(office: Office, route: Route) -> None:
    """For every role, or none, on everything, on each scope in which the thing lies, and on those of another thing."""
    world = World(office)
    scopes = {f"other {kind}": scope for kind, scope in world.scopes(world.second).items()}
    scopes |= {**world.scopes(world.first), "everything": EVERYTHING}
    path, body = route.path.format(**world.first), _fill(route.body, world.first)
    allowed = []
    for role in (None, *ROLES):
        for name, scope in scopes.items():
            holds = role is not None and route.needs in ROLES[role]
            token = office.person(f"{role} {name}", role, scope)
            if holds and (
                scope == EVERYTHING or (not route.on_everything and name in _kinds_of(route.like or route.path))
            ):
                allowed.append((role, name, token))
                continue
            answer = office.ask(route.method, path, body, token)
            hidden = holds and not route.on_everything  # what is not theirs to know is not there
            assert answer.status_code in ((404,) if hidden else (403, 404)), (role, name, answer.text)
    statuses = []
    for role, name, token in allowed:
        office.clock.pass_(seconds=1)
        answer = office.ask(route.method, path, body, token)
        statuses.append(answer.status_code)
        if route.method == "DELETE" and answer.status_code == 204:
            break  # it is gone: nobody else can be let in
        # 409: what one was allowed to begin is in the way of the next
        good = (200, 201, 204, *([409] if len(statuses) > 1 else []))
        assert answer.status_code == route.then or answer.status_code in good, (role, name, answer.text)
    assert statuses[0] < 300 or statuses[0] == route.then


def test_every_route_is_in_the_matrix() -> None:
    def plain(path: str) -> str:
        return re.sub(r"\{\w+\}", "{}", path)

    lists = {("GET", path) for path in (*LISTS, *EVERYBODYS, "/tokens")}  # of tokens everybody sees his own
    tried = {(route.method, plain(route.path)) for route in ROUTES} | lists
    served = {
        (method, plain(route.path))
        for router in application.ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.name not in application.OPEN
        for method in route.methods
    }
    assert tried == served


@pytest.mark.parametrize("path", LISTS)
def test_a_list_shows_what_a_binding_covers(office: Office, path: str) -> None:
    world = World(office)
    letter = {"/hypervisors": "h", "/machines": "m", "/rules": "r", "/plans": "p", "/jobs": "j", "/runs": "n"}.get(path)
    first, second = (of[letter] if letter else point for of, point in zip(world.both, world.points, strict=True))
    for role in (None, *ROLES):
        for name, scope in {"everything": EVERYTHING, **world.scopes(world.first)}.items():
            answer = office.ask("GET", path, token=office.person(f"{role} {name}", role, scope))
            if role is None:
                assert answer.status_code == 403
                continue
            shown = {item["id"] for item in answer.json()["items"]}
            if scope == EVERYTHING:
                assert shown == {first, second}
            else:
                assert shown == ({first} if name in _kinds_of(path) else set())


@pytest.mark.parametrize("path", EVERYBODYS)
def test_lists_of_what_belongs_to_everybody_are_empty_for_who_is_bound_to_a_part(office: Office, path: str) -> None:
    world = World(office)
    assert office.get(path)["items"]
    for name, scope in world.scopes(world.first).items():
        assert office.get(path, office.person(name, "administrator", scope))["items"] == []


def test_who_may_not_know_of_a_thing_hears_that_there_is_none(office: Office) -> None:
    world = World(office)
    token = office.person("ann", "administrator", Scope("plan", world.second["p"]))
    hidden = office.ask("GET", f"/plans/{world.first['p']}", token=token)
    missing = office.ask("GET", "/plans/none", token=token)
    assert hidden.status_code == missing.status_code == 404


def test_logging_in_gives_a_token_that_ends(office: Office) -> None:
    user = office.post("/users", {"name": "ann", "password": "correct horse battery"})["id"]
    office.post("/bindings", {"user_id": user, "role": "viewer"})
    logged_in = office.client.post("/api/v1/login", json={"name": "ann", "password": "correct horse battery"})
    token = logged_in.json()["token"]
    assert office.ask("GET", "/plans", token=token).status_code == 200
    assert office.ask("POST", "/plans", PLAN, token=token).status_code == 403
    office.clock.pass_(hours=13)
    assert office.ask("GET", "/plans", token=token).status_code == 401


def test_wrong_passwords_are_refused_and_then_slowed_down(office: Office) -> None:
    statuses = [
        office.client.post("/api/v1/login", json={"name": "ann", "password": "wrong"}).status_code for _ in range(6)
    ]
    assert statuses == [401] * 5 + [429]


def test_who_guesses_with_many_requests_at_once_guesses_no_more(office: Office) -> None:
    office.post("/users", {"name": "ann", "password": "correct horse battery"})
    statuses: list[int] = []

    def guess() -> None:
        statuses.append(office.client.post("/api/v1/login", json={"name": "ann", "password": "wrong"}).status_code)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [401] * 5 + [429] * 7
    right = {"name": "ann", "password": "correct horse battery"}
    assert office.client.post("/api/v1/login", json=right).status_code == 429
    office.clock.pass_(seconds=61)
    assert office.client.post("/api/v1/login", json=right).status_code == 200


def test_a_token_cannot_make_one_that_may_more_than_itself(office: Office) -> None:
    token = office.person("ann", "administrator", permissions=[Permission.SELF, Permission.PLANS_READ])
    assert office.ask("POST", "/tokens", {"name": "all"}, token).status_code == 422
    assert office.ask("POST", "/tokens", {"name": "w", "permissions": ["plans.write"]}, token).status_code == 422
    made = office.post("/tokens", {"name": "r", "permissions": ["plans.read"]}, token)["token"]
    assert office.ask("GET", "/plans", token=made).status_code == 200
    assert office.ask("GET", "/tokens", token=made).status_code == 403


def test_a_revoked_token_lets_nobody_in(office: Office) -> None:
    made = office.post("/tokens", {"name": "t"})
    assert office.ask("GET", "/plans", token=made["token"]).status_code == 200
    assert office.ask("DELETE", f"/tokens/{made['id']}").status_code == 204
    assert office.ask("GET", "/plans", token=made["token"]).status_code == 401


def test_tokens_of_others_are_nobodys_business(office: Office) -> None:
    office.post("/tokens", {"name": "mine"})
    ann = office.person("ann", "operator")
    assert [item["name"] for item in office.get("/tokens", ann)["items"]] == ["test"]
    other = office.get("/tokens")["items"][0]["id"]
    assert office.ask("DELETE", f"/tokens/{other}", token=ann).status_code == 404


def test_the_last_administrator_stays(office: Office) -> None:
    root = office.get("/users")["items"][0]["id"]
    binding = office.get("/bindings")["items"][0]["id"]
    for method, path, body in (
        ("DELETE", f"/users/{root}", None),
        ("DELETE", f"/bindings/{binding}", None),
        ("PUT", f"/users/{root}", {"name": "root", "disabled": True}),
    ):
        assert office.ask(method, path, body).status_code == 409
    assert office.ask("GET", "/plans").status_code == 200
