"""What all of REST has in common: permissions, problems, pages, tags, idempotency."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import cast
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from commserve.access.roles import Permission
from commserve.api import app as application
from commserve.api.call import Posts, Reads, Writes, _Needs
from commserve.api.jobs import _events
from commserve.store.tables import answers, machines, tokens
from tests.commserve.office import Office, machine


def dependencies(of: Dependant) -> Iterator[object]:
    for dependency in of.dependencies:
        yield dependency.call
        yield from dependencies(dependency)


def routes() -> list[APIRoute]:
    return [route for router in application.ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def test_nothing_is_served_but_these_routes(office: Office) -> None:
    described = office.client.get("/api/v1/openapi.json").json()["paths"]
    served = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert served == {(method, f"/api/v1{route.path}") for route in routes() for method in route.methods}


def test_every_route_has_a_permission_but_the_few_that_are_open() -> None:
    without = {
        route.name
        for route in routes()
        if not any(isinstance(found, _Needs) for found in dependencies(route.dependant))
    }
    assert len(routes()) > 20
    assert without == application.OPEN


def test_what_changes_something_needs_a_permission_to_change() -> None:
    """A route that writes and asks only for a permission to read would open a hole; previews write nothing."""
    for route in routes():
        for found in dependencies(route.dependant):
            if isinstance(found, Writes | Posts):
                assert not found.permission.endswith(".read"), route.path
            if isinstance(found, Reads):
                assert found.permission.endswith(".read") or found.permission == Permission.SELF, route.path


def test_every_permission_is_asked_for_somewhere() -> None:
    asked = {f.permission for route in routes() for f in dependencies(route.dependant) if isinstance(f, _Needs)}
    assert asked == set(Permission)


def test_without_a_token_there_is_a_problem_with_a_code(office: Office) -> None:
    answer = office.client.get("/api/v1/machines")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    body = answer.json()
    assert (body["code"], body["status"], body["retry"]) == ("commserve.not_authenticated", 401, "never")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "commserve.not_found"),
        ("GET", "/plans/none", None, 404, "commserve.not_found"),
        ("POST", "/plans", {"name": "x", "colour": "red"}, 422, "commserve.request_invalid"),
        ("POST", "/plans", {"name": "x", "schedule": {"cron": "* *"}}, 422, "commserve.request_invalid"),
        ("POST", "/plans", {"name": "x", "retention": {"daily": 0}}, 422, "commserve.request_invalid"),
        ("POST", "/plans", {"name": "x", "pool_id": "none"}, 422, "commserve.request_invalid"),
        ("POST", "/hypervisors", {"name": "x", "kind": "vax", "settings": {}}, 422, "commserve.request_invalid"),
        ("POST", "/hypervisors", {"name": "x", "kind": "images", "settings": {}}, 422, "commserve.request_invalid"),
        ("GET", "/machines?cursor=%25", None, 422, "commserve.request_invalid"),
        ("GET", "/machines?limit=0", None, 422, "commserve.request_invalid"),
        ("DELETE", "/machines", None, 405, "commserve.request_invalid"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    office: Office, method: str, path: str, body: object, status: int, code: str
) -> None:
    answer = office.ask(method, path, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_problem_does_not_repeat_what_was_sent(office: Office) -> None:
    answer = office.ask("POST", "/users", {"name": "ann", "password": "hunter2"})
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_a_fault_of_the_program_is_a_problem_without_its_insides(office: Office) -> None:
    office.store.engine.dispose()
    with office.store.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE rules RENAME TO elsewhere")
    answer = office.ask("GET", "/rules")
    assert (answer.status_code, answer.json()["code"]) == (500, "commserve.unexpected")
    assert "elsewhere" not in answer.text


def test_a_name_twice_is_refused_and_says_so(office: Office) -> None:
    office.plan("gold")
    answer = office.ask("POST", "/plans", {"name": "gold"})
    assert (answer.status_code, answer.json()["code"]) == (409, "commserve.name_taken")


def test_what_is_in_use_stays(office: Office) -> None:
    plan = office.plan()
    office.rule("all", plan)
    answer = office.ask("DELETE", f"/plans/{plan}")
    assert (answer.status_code, answer.json()["code"]) == (409, "commserve.in_use")


def test_pages_show_everything_once_also_when_something_comes_between(office: Office) -> None:
    lab = office.hypervisor()
    office.discover(lab, *(machine(f"m{n:03}") for n in range(0, 100, 2)))
    seen, cursor = [], ""
    while True:
        page = office.get(f"/machines?limit=7{cursor and '&cursor=' + cursor}")
        seen += [found["name"] for found in page["items"]]
        office.discover(lab, *(machine(f"m{n:03}") for n in [1, *range(0, 100, 2)]))  # sorts before the cursor
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == [f"m{n:03}" for n in range(0, 100, 2)]


def test_what_did_not_change_is_not_sent_again(office: Office) -> None:
    plan = office.plan()
    for path in (f"/plans/{plan}", "/plans"):
        first = office.ask("GET", path)
        again = office.ask("GET", path, If_None_Match=first.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
    office.plan("other")
    assert office.ask("GET", "/plans", If_None_Match=first.headers["etag"]).status_code == 200


def test_who_changes_what_somebody_else_changed_hears_of_it(office: Office) -> None:
    plan = office.plan()
    tag = office.ask("GET", f"/plans/{plan}").headers["etag"]
    assert office.ask("PUT", f"/plans/{plan}", {"name": "mine"}, If_Match=tag).status_code == 200
    late = office.ask("PUT", f"/plans/{plan}", {"name": "late"}, If_Match=tag)
    assert (late.status_code, late.json()["code"]) == (412, "commserve.changed")
    assert office.ask("DELETE", f"/plans/{plan}", If_Match=tag).status_code == 412
    assert office.get(f"/plans/{plan}")["name"] == "mine"


def test_a_post_with_a_key_is_done_once_and_answered_the_same(office: Office) -> None:
    first = office.ask("POST", "/plans", {"name": "gold"}, Idempotency_Key="k")
    again = office.ask("POST", "/plans", {"name": "gold"}, Idempotency_Key="k")
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first.headers["location"] == again.headers["location"]
    assert len(office.all_pages("/plans")) == 1


def test_a_key_with_another_request_is_refused_and_one_of_somebody_else_is_another_key(office: Office) -> None:
    office.post("/plans", {"name": "gold"}, Idempotency_Key="k")
    other = office.ask("POST", "/plans", {"name": "silver"}, Idempotency_Key="k")
    assert (other.status_code, other.json()["code"]) == (422, "commserve.key_reused")
    ann = office.person("ann", "administrator")
    office.post("/plans", {"name": "silver"}, ann, Idempotency_Key="k")


def test_what_is_kept_of_a_request_does_not_let_anybody_try_passwords_on_it(office: Office) -> None:
    """Guesses take the hash of a token, and the database has none that is good for it."""
    body = {"name": "ann", "password": "correct horse battery"}
    bob = office.person("bob", "administrator")
    first = office.ask("POST", "/users", body, Idempotency_Key="k")
    sent = first.request.content
    assert first.status_code == 201
    assert office.ask("DELETE", f"/users/{first.json()['id']}").status_code == 204
    assert office.ask("POST", "/users", body, bob, Idempotency_Key="k").status_code == 201
    with office.store.reading() as connection:
        kept = set(connection.execute(sa.select(answers.c.request_hash)).scalars())
        hashes = connection.execute(sa.select(tokens.c.secret_hash)).scalars().all()
    assert len(kept) == 2, "the same request of two people is two"
    for target in (b"POST /api/v1/users? ", b""):
        assert hashlib.sha256(target + sent).hexdigest() not in kept
        for key in (text.encode() for text in hashes):
            assert hmac.digest(key, target + sent, "sha256").hex() not in kept
    assert hmac.digest(bob.encode(), b"POST /api/v1/users? " + sent, "sha256").hex() in kept


def test_a_key_that_came_with_another_token_of_the_same_person_is_refused(office: Office) -> None:
    office.post("/plans", {"name": "gold"}, Idempotency_Key="k")
    other = office.post("/tokens", {"name": "t"})["token"]
    answer = office.ask("POST", "/plans", {"name": "gold"}, other, Idempotency_Key="k")
    assert (answer.status_code, answer.json()["code"]) == (422, "commserve.key_reused")


def test_a_post_that_failed_may_come_again_with_its_key(office: Office) -> None:
    office.plan("gold")
    assert office.ask("POST", "/plans", {"name": "gold"}, Idempotency_Key="k").status_code == 409
    office.ask("DELETE", f"/plans/{office.get('/plans')['items'][0]['id']}")
    office.post("/plans", {"name": "gold"}, Idempotency_Key="k")


def test_an_answer_with_a_secret_is_not_kept(office: Office) -> None:
    made = office.post("/tokens", {"name": "t"}, Idempotency_Key="k")
    again = office.ask("POST", "/tokens", {"name": "t"}, Idempotency_Key="k")
    assert (again.status_code, again.json()["code"]) == (409, "commserve.answer_not_kept")
    with office.store.reading() as connection:
        assert made["token"] not in str(connection.execute(sa.select(answers)).all())


def test_the_interface_describes_itself(office: Office) -> None:
    described = office.client.get("/api/v1/openapi.json").json()
    assert described["openapi"].startswith("3.")
    assert "/api/v1/plans/{plan_id}" in described["paths"]


def test_a_request_of_any_size_is_not_read(office: Office) -> None:
    long = b"x" * (1 << 20)
    for content in (long + b"x", iter([long, long])):  # its length is declared, or it comes in chunks
        headers = {"Authorization": f"Bearer {office.administrator}"}
        answer = office.client.post("/api/v1/plans", content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        assert (answer.json()["code"], answer.json()["status"]) == ("commserve.request_too_long", 413)


def test_a_job_can_be_followed_until_it_ends(office: Office) -> None:
    office.protect(1, schedule={"cron": ""})
    (found,) = office.all_pages("/machines")
    job = office.post(f"/machines/{found['id']}/backup")["id"]
    office.post(f"/jobs/{job}/cancel")
    answer = office.ask("GET", f"/jobs/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    (event, data), rest = answer.text.splitlines()[:2], answer.text.splitlines()[2:]
    assert event == "event: job"
    assert json.loads(data.removeprefix("data: ")) == office.get(f"/jobs/{job}")
    assert rest == [""]


@pytest.mark.parametrize("how", ["token", "binding"])
def test_who_follows_a_job_hears_no_more_once_he_may_not(office: Office, how: str) -> None:
    office.protect(1, schedule={"cron": ""})
    (found,) = office.all_pages("/machines")
    job = office.post(f"/machines/{found['id']}/backup")["id"]
    ann = office.person("ann", "viewer")
    gone = f"/tokens/{office.get('/tokens', ann)['items'][0]['id']}"
    if how == "binding":
        gone = f"/bindings/{office.get('/bindings')['items'][-1]['id']}"

    class Asking:
        async def is_disconnected(self) -> bool:
            return False

    async def follow() -> list[str]:
        stream = _events(cast("Request", Asking()), office.services, ann, job)
        heard = [await anext(stream)]
        assert office.ask("DELETE", gone).status_code == 204
        office.post(f"/jobs/{job}/cancel")
        return heard + [event async for event in stream]

    first, last = asyncio.run(follow())
    assert "QUEUED" in first
    assert last == "event: job\ndata: null\n\n"


def test_forgetting_a_hypervisor_ends_the_jobs_of_its_machines_and_keeps_their_points(office: Office) -> None:
    office.protect(2, schedule={"cron": ""})
    first, second = office.all_pages("/machines")
    for machine_ in (first, second):
        office.post(f"/machines/{machine_['id']}/backup")
    (running,) = office.lease(office.agent())
    lab = office.get("/hypervisors")["items"][0]["id"]
    assert office.ask("DELETE", f"/hypervisors/{lab}").status_code == 204
    assert sorted(job["state"] for job in office.all_pages("/jobs")) == ["CANCELLED", "CANCELLING"]
    office.report(running, "CANCELLED")
    assert office.all_pages("/machines") == []


def test_a_pool_that_is_worked_on_stays(office: Office) -> None:
    pool = office.pool()
    office.post(f"/pools/{pool}/verify")
    answer = office.ask("DELETE", f"/pools/{pool}")
    assert (answer.status_code, answer.json()["code"]) == (409, "commserve.in_use")


def test_a_list_of_machines_says_of_each_what_the_machine_itself_says(office: Office) -> None:
    """Lists are written past everything that writes one machine."""
    plan = office.plan(sla_minutes=60)
    lab = office.hypervisor()
    office.rule("all", plan, names=["covered*"])
    strange = 'quote " backslash \\ newline \n ümlaut \U0001f4be %s {} \x7f'
    complaints = office.discover(
        lab,
        machine("covered", tags=["a:b", strange], attributes={strange: strange}),
        machine("covered-late"),
        machine("strange") | {"name": strange, "folder": strange, "protectable": False, "reason": strange, "disks": []},
        machine("excluded"),
    )
    assert complaints == []
    until = "2026-03-09T00:00:00Z"
    office.put("/machines/id-excluded/exclusion", {"reason": strange, "until": until})
    with office.store.writing() as connection:
        change = sa.update(machines).where(machines.c.id == "id-covered")
        connection.execute(change.values(last_point_at=office.clock.moment))
    found = office.all_pages("/machines")
    assert {each["sla"] for each in found} == {"met", "missed", "none", "excluded"}
    for each in found:
        assert office.get(f"/machines/{quote(each['id'])}") == each


def test_a_name_that_is_taken_is_told_without_the_database_s_words(office: Office) -> None:
    office.plan("gold")
    answer = office.ask("POST", "/plans", {"name": "gold"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "plans.name: expected one that is not there yet"


def test_credentials_in_a_pool_s_url_are_refused_before_they_are_kept(office: Office) -> None:
    """It is shown to all who may see pools, and stands in logs."""
    media = office.agent("mediaagent")
    for url in ("s3://AKIA:hush@bucket/vms", "https://me:hush@host/x", "s3://hush@bucket/vms"):
        answer = office.ask("POST", "/pools", {"name": "cloud", "url": url, "agents": [media]})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("url: ")
        assert "hush" not in answer.text
    assert office.get("/pools")["items"] == office.get("/jobs")["items"] == []
    office.post("/pools", {"name": "odd", "url": "s3://bucket/a@b", "agents": [media]})


def test_a_limit_of_a_hypervisor_is_a_whole_number_as_such(office: Office) -> None:
    """What leases work reads it with every look, of all hypervisors: one that it cannot read would stop them all."""
    body = {"name": "v", "kind": "vcenter", "agents": [office.agent("vsa")], "secret": "hush"}
    for limit in ("5.0", "8", 1.5, True, -1, None):
        settings = {"address": "vcenter.example", "user": "u", "limits": {"machines": limit}}
        answer = office.ask("POST", "/hypervisors", {**body, "settings": settings})
        assert answer.status_code == 422, limit
        assert answer.json()["detail"].startswith("settings.limits.machines: "), limit


def test_jobs_of_a_state_or_kind_that_there_is_not_are_refused_and_not_none(office: Office) -> None:
    """Whoever asks for FAILLED must not read that nothing failed."""
    for query in ("state=FAILLED", "state=failed", "kind=bakcup"):
        answer = office.ask("GET", f"/jobs?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "commserve.request_invalid"), query
        assert answer.json()["detail"].startswith(query.partition("=")[0]), query
    for query in ("state=active", "state=ended", "state=FAILED", "kind=backup"):
        assert office.get(f"/jobs?{query}")["items"] == []


def test_why_a_machine_cannot_be_backed_up_is_said(office: Office) -> None:
    lab = office.hypervisor()
    office.discover(lab, machine("web"), machine("odd", protectable=False, reason="it has no disks"))

    def why(name: str) -> str:
        answer = office.ask("POST", f"/machines/id-{name}/backup")
        assert answer.status_code == 409
        return str(answer.json()["detail"])

    assert why("web") == "machine web: expected a rule that gives it a plan, found none"
    assert why("odd") == "machine odd cannot be protected: it has no disks"
    office.rule("all", office.plan("gold"), names=["*"])
    assert why("web") == "machine web: its plan gold has no pool"
    office.discover(lab)
    assert why("web") == "machine web is not there any more"
