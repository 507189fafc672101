"""The whole matrix: every route for every role, on what a binding covers and on what it does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from commserve.access.roles import EVERYTHING, ROLES, Permission, Scope
from tests.commserve.office import Office, machine

PLAN = {"name": "changed"}
HYPERVISOR = {"name": "changed", "kind": "images", "settings": {"directory": "/x"}}
EXCLUSION = {"reason": "moving", "until": "2030-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Route:
    """`needs` on the thing itself; `{h}`, `{p}`, `{r}`, `{m}` stand for the first hypervisor, plan, rule, machine."""

    method: str
    path: str
    needs: Permission
    body: object = None
    on_everything: bool = False  # a binding on less is not enough


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
    Route("GET", "/users/{u}", Permission.USERS_READ, on_everything=True),
    Route("POST", "/users", Permission.USERS_WRITE, {"name": "new"}, on_everything=True),
    Route("PUT", "/users/{u}", Permission.USERS_WRITE, {"name": "changed"}, on_everything=True),
    Route("DELETE", "/users/{u}", Permission.USERS_WRITE, on_everything=True),
    Route("POST", "/tokens", Permission.USERS_WRITE, {"name": "t", "user_id": "{u}"}, on_everything=True),
    Route("POST", "/bindings", Permission.USERS_WRITE, {"user_id": "{u}", "role": "viewer"}, on_everything=True),
]
LISTS = {
    "/hypervisors": Permission.HYPERVISORS_READ,
    "/machines": Permission.MACHINES_READ,
    "/rules": Permission.RULES_READ,
    "/plans": Permission.PLANS_READ,
}


class World:
    """Two of everything; the first hypervisor's machine has the first rule and plan."""

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
        user = office.post("/users", {"name": "somebody"})["id"]
        self.first["u"] = self.second["u"] = user

    def scopes(self, of: dict[str, str]) -> dict[str, Scope]:
        return {
            "hypervisor": Scope("hypervisor", of["h"]),
            "plan": Scope("plan", of["p"]),
            "group": Scope("group", of["r"]),
        }


def _kinds_of(path: str) -> tuple[str, ...]:
    """The kinds of scope in which the thing of a path lies."""
    room = path.split("/")[1]
    return {
        "hypervisors": ("hypervisor",),
        "machines": ("hypervisor", "plan", "group"),
        "rules": ("plan", "group"),
        "plans": ("plan",),
    }.get(room, ())


def _fill(body: object, ids: dict[str, str]) -> object:
    if isinstance(body, dict):
        return {key: ids["u"] if value == "{u}" else value for key, value in body.items()}
    return body


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("role", [*ROLES, None], ids=str)
def test_a_route_does_what_role_and_scope_allow_and_nothing_else(
    office: Office, route: Route, role: str | None
) -> None:
    world = World(office)
    bindings = {"everything": EVERYTHING, **world.scopes(world.first)}
    elsewhere = {f"other {kind}": scope for kind, scope in world.scopes(world.second).items()}
    for name, scope in sorted({**elsewhere, **bindings}.items(), key=lambda item: item[0] == "everything"):
        token = office.person(f"{role} {name}", role, scope)
        holds = role is not None and route.needs in ROLES[role]
        covers = scope == EVERYTHING or (not route.on_everything and name in _kinds_of(route.path))
        path = route.path.format(**world.first)
        answer = office.ask(route.method, path, _fill(route.body, world.first), token)
        if holds and covers:
            assert answer.status_code in (200, 201, 204), (name, answer.text)
            if route.method == "DELETE" and scope != EVERYTHING:
                break  # it is gone: the other bindings have nothing to be tried on
        else:
            assert answer.status_code in (403, 404), (name, answer.text)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("role", [*ROLES, None], ids=str)
def test_a_list_shows_what_a_binding_covers(office: Office, path: str, role: str | None) -> None:
    world = World(office)
    letter = {"/hypervisors": "h", "/machines": "m", "/rules": "r", "/plans": "p"}[path]
    for name, scope in {"everything": EVERYTHING, **world.scopes(world.first)}.items():
        token = office.person(f"{role} {name}", role, scope)
        answer = office.ask("GET", path, token=token)
        if role is None:
            assert answer.status_code == 403
            continue
        shown = {item["id"] for item in answer.json()["items"]}
        if scope == EVERYTHING:
            assert shown == {world.first[letter], world.second[letter]}
        else:
            assert shown == ({world.first[letter]} if name in _kinds_of(path) else set())


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
