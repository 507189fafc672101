"""Rules: the first that matches wins; discoveries change what is protected without anybody acting."""

from __future__ import annotations

from typing import Any

import pytest

from commserve.inventory import machines
from commserve.inventory.rules import Conditions, matches
from tests.commserve.office import Office, machine

WEB = machine(
    "Web-01",
    folder="prod/web",
    tags=["tier:1", "pci"],
    attributes={"owner": "shop"},
    resource_pool="DC/Cluster/Gold",
)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, True),
        ({"names": ["web-*"]}, True),
        ({"names": ["db-*"]}, False),
        ({"names": ["db-*", "*01"]}, True),
        ({"folders": ["prod"]}, True),
        ({"folders": ["prod/web/"]}, True),
        ({"folders": ["web"]}, False),
        ({"tags": ["PCI"]}, True),
        ({"tags": ["tier:[23]"]}, False),
        ({"power_states": ["off"]}, False),
        ({"resource_pools": ["dc/cluster"]}, True),
        ({"resource_pools": ["*/gold"]}, True),
        ({"resource_pools": ["*/silver"]}, False),
        ({"attributes": {"owner": "sh*"}}, True),
        ({"attributes": {"owner": "sh*", "cost": "*?"}}, False),
        ({"names": ["web*"], "tags": ["none"]}, False),
    ],
)
def test_all_that_is_said_must_hold_and_one_value_of_each_is_enough(conditions: dict[str, Any], expected: bool) -> None:
    assert matches(Conditions.model_validate(conditions), WEB) is expected


def plan_of(office: Office, name: str) -> object:
    return office.get(f"/machines/id-{name}")["plan_id"]


def test_the_first_rule_that_matches_wins_and_one_without_a_plan_excludes(office: Office) -> None:
    lab, gold, silver = office.hypervisor(), office.plan("gold"), office.plan("silver")
    office.discover(lab, machine("web1"), machine("web-scratch"), machine("db1"))
    office.rule("rest", silver, position=9)
    office.rule("webs", gold, position=5, names=["web*"])
    office.rule("scratch", None, position=1, names=["*scratch"])
    assert [plan_of(office, name) for name in ("web1", "web-scratch", "db1")] == [gold, None, silver]


def test_a_machine_that_appears_is_protected_without_anybody_acting(office: Office) -> None:
    lab, gold = office.hypervisor(), office.plan()
    office.rule("all", gold)
    office.discover(lab, machine("new"))
    assert plan_of(office, "new") == gold


def test_a_machine_that_is_gone_comes_back_as_itself(office: Office) -> None:
    lab, gold = office.hypervisor(), office.plan()
    office.rule("all", gold)
    office.discover(lab, machine("web"), machine("db"))
    office.discover(lab, machine("db"))
    assert [found["id"] for found in office.all_pages("/machines")] == ["id-db"]
    assert office.get("/machines/id-web")["gone_at"] is not None
    office.discover(lab, machine("db"), machine("web") | {"name": "renamed"})
    assert office.get("/machines/id-web")["name"] == "renamed"
    assert plan_of(office, "web") == gold


def test_a_machine_moves_to_another_hypervisor_when_it_is_gone_from_the_first(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, machine("web"))
    assert "another hypervisor" in office.discover(second, machine("web"))[0]
    assert office.get("/machines/id-web")["hypervisor_id"] == first
    office.discover(first)
    assert office.discover(second, machine("web")) == []
    assert office.get("/machines/id-web")["hypervisor_id"] == second


@pytest.mark.parametrize("wrong", ["", "a/b", "x" * 201, "a\nb"])
def test_an_id_that_cannot_be_one_is_left_out_and_told(office: Office, wrong: str) -> None:
    complaints = office.discover(office.hypervisor(), machine("web", id=wrong), machine("db"))
    assert len(complaints) == 1
    assert [found["name"] for found in office.all_pages("/machines")] == ["db"]


def test_two_machines_with_one_id_do_not_mix(office: Office) -> None:
    complaints = office.discover(office.hypervisor(), machine("web"), machine("copy", id="id-web"))
    assert "that of another one" in complaints[0]
    assert [found["name"] for found in office.all_pages("/machines")] == ["web"]


def test_a_preview_tells_what_a_rule_would_change_and_changes_nothing(office: Office) -> None:
    lab, gold, silver = office.hypervisor(), office.plan("gold"), office.plan("silver")
    office.discover(lab, *(machine(f"web{n}") for n in range(5)), machine("db"), machine("old"))
    office.rule("old", gold, position=1, names=["old", "web0"])
    body = {"plan_id": silver, "position": 5, "conditions": {"names": ["web*"]}}
    found = office.post("/rules/preview", body)
    assert {name: found[name] for name in ("matched", "won", "newly_protected", "moved", "first_backups")} == {
        "matched": 5,
        "won": 4,
        "newly_protected": 4,
        "moved": 0,
        "first_backups": 4,
    }
    assert plan_of(office, "web1") is None
    found = office.post("/rules/preview", {**body, "position": 0})
    assert (found["won"], found["moved"]) == (5, 1)
    assert {m["name"]: m["plan_id_then"] for m in found["machines"]} == {f"web{n}": silver for n in range(5)}


def test_a_preview_of_another_form_of_a_rule_replaces_it(office: Office) -> None:
    lab, gold = office.hypervisor(), office.plan()
    office.discover(lab, machine("web"), machine("db"))
    rule = office.rule("webs", gold, names=["web"])
    found = office.post("/rules/preview", {"rule_id": rule, "plan_id": gold, "conditions": {"names": ["db"]}})
    assert (found["newly_protected"], found["no_longer_protected"]) == (1, 1)


def test_what_a_preview_says_is_what_then_happens(office: Office) -> None:
    lab, gold, silver = office.hypervisor(), office.plan("gold"), office.plan("silver")
    office.discover(lab, *(machine(f"m{n}", tags=[f"t{n % 3}"]) for n in range(12)))
    office.rule("first", gold, position=3, tags=["t1"])
    body = {"plan_id": silver, "position": 3, "conditions": {"names": ["m[0-7]"]}}
    said = {m["id"]: m["plan_id_then"] for m in office.post("/rules/preview", body)["machines"]}
    before = {m["id"]: m["plan_id"] for m in office.all_pages("/machines")}
    office.post("/rules", {"name": "second", **body})
    after = {m["id"]: m["plan_id"] for m in office.all_pages("/machines")}
    assert {key: plan for key, plan in after.items() if before[key] != plan} == said


def test_changes_touch_only_the_machines_that_they_name(office: Office) -> None:
    lab, gold = office.hypervisor(), office.plan()
    office.rule("webs", gold, names=["web*"])
    office.discover(lab, machine("web1"), machine("web2"), machine("db"))
    with office.store.writing() as connection:
        found = [machine("db") | {"name": "web3"}, machine("web4")]
        assert machines.change(connection, lab, found, ["id-web2", "unknown"], office.clock.moment) == []
    assert [plan_of(office, name) for name in ("web1", "db", "web4")] == [gold, gold, gold]
    assert sorted(found["name"] for found in office.all_pages("/machines")) == ["web1", "web3", "web4"]
    assert office.get("/machines/id-web2")["gone_at"] is not None
