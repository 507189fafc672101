"""/rules: which machines have which plan. Their order decides, so who changes one must be allowed to change all."""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from commserve.access.roles import Permission
from commserve.api.call import Call, posts, reads, writes
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, Moment
from commserve.faults import RequestInvalid
from commserve.inventory.machines import assign_anew, rules_in_order
from commserve.inventory.rules import Conditions, Rule, assign, matches
from commserve.plans.promise import Name
from commserve.store.tables import machines, plans, rules

router = APIRouter(prefix="/rules", tags=["rules"])
SCOPES = {"plan": rules.c.plan_id, "group": rules.c.id}
_SAMPLE = 200


class RuleIn(Input):
    name: Name
    position: Annotated[int, Field(ge=0, le=1_000_000)] = Field(default=0, description="lower ones are tried first")
    plan_id: Id | None = Field(default=None, description="none: machines that it matches are left out")
    conditions: Conditions = Conditions()


class RuleOut(BaseModel):
    id: str
    name: str
    position: int
    plan_id: str | None
    conditions: Conditions
    created_at: Moment


class PreviewIn(Input):
    """A rule that is not there yet, or (`rule_id`) another form of one that is."""

    rule_id: Id | None = None
    position: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    plan_id: Id | None = None
    conditions: Conditions = Conditions()


class PreviewMachine(BaseModel):
    id: str
    name: str
    folder: str
    rule_id_now: str | None
    plan_id_now: str | None
    plan_id_then: str | None


class Preview(BaseModel):
    matched: int = Field(description="machines that fit the conditions")
    won: int = Field(description="of these, those that no rule before it takes")
    newly_protected: int
    no_longer_protected: int
    moved: int = Field(description="from one plan to another")
    first_backups: int = Field(description="newly protected machines that have no recovery point yet")
    machines: list[PreviewMachine] = Field(description=f"whose plan would change, the first {_SAMPLE}")


@router.get("", response_model=Page[RuleOut])
def list_rules(
    call: Annotated[Call, reads(Permission.RULES_READ)], limit: Limit = 100, cursor: Cursor = None
) -> Response:
    wanted = sa.select(rules).where(call.visible(SCOPES))
    return call.answer(page(call.connection, wanted, rules.c.id, limit, cursor, RuleOut.model_validate))


@router.post("", status_code=201, response_model=RuleOut)
def add_rule(body: RuleIn, call: Annotated[Call, posts(Permission.RULES_WRITE)]) -> Response:
    call.authorize()
    _check_plan(call, body.plan_id)
    key = call.services.ids.new(call.now)
    call.connection.execute(sa.insert(rules).values(id=key, created_at=call.now, **body.model_dump(mode="json")))
    assign_anew(call.connection)
    return call.answer(_read(call, key), 201, location=f"/api/v1/rules/{key}")


@router.post("/preview", response_model=Preview)
def preview_rule(body: PreviewIn, call: Annotated[Call, reads(Permission.RULES_READ)]) -> Response:
    """What a rule would change, before it does."""
    call.authorize()
    _check_plan(call, body.plan_id)
    return call.answer(_preview(call, body))


@router.get("/{rule_id}", response_model=RuleOut)
def show_rule(rule_id: Id, call: Annotated[Call, reads(Permission.RULES_READ)]) -> Response:
    return call.answer(_read(call, rule_id))


@router.put("/{rule_id}", response_model=RuleOut)
def change_rule(rule_id: Id, body: RuleIn, call: Annotated[Call, writes(Permission.RULES_WRITE)]) -> Response:
    call.expect(_read(call, rule_id))
    call.authorize()
    _check_plan(call, body.plan_id)
    call.connection.execute(sa.update(rules).where(rules.c.id == rule_id).values(**body.model_dump(mode="json")))
    assign_anew(call.connection)
    return call.answer(_read(call, rule_id))


@router.delete("/{rule_id}", status_code=204)
def remove_rule(rule_id: Id, call: Annotated[Call, writes(Permission.RULES_WRITE)]) -> Response:
    """Its machines go to the next rule that matches them."""
    call.expect(_read(call, rule_id))
    call.authorize()
    call.connection.execute(sa.delete(rules).where(rules.c.id == rule_id))
    assign_anew(call.connection)
    return call.answer(None, 204)


def _read(call: Call, key: str) -> RuleOut:
    return RuleOut.model_validate(call.row(rules, key, SCOPES, Permission.RULES_READ))


def _check_plan(call: Call, plan_id: str | None) -> None:
    known = sa.select(plans.c.id).where(plans.c.id == plan_id)
    if plan_id is not None and call.connection.execute(known).one_or_none() is None:
        raise RequestInvalid(f"plan_id: no plan {plan_id!r}")


def _preview(call: Call, body: PreviewIn) -> Preview:
    order = call.connection.execute(sa.select(rules.c.id, rules.c.position)).all()
    places = {row.id: (row.position, row.id) for row in order}
    tried = Rule(body.rule_id or "", body.plan_id, body.conditions)
    known = rules_in_order(call.connection)
    then = [rule for rule in known if rule.id != body.rule_id]
    mine = (body.position, body.rule_id or "~")  # a new rule's id sorts after those that are there
    then.insert(sum(places[rule.id] < mine for rule in then), tried)
    found = Preview(matched=0, won=0, newly_protected=0, no_longer_protected=0, moved=0, first_backups=0, machines=[])
    for row in call.connection.execute(sa.select(machines).where(machines.c.gone_at.is_(None))).mappings():
        winner = assign(row, then)
        now_plan, then_plan = row["plan_id"], winner and winner.plan_id
        found.matched += matches(body.conditions, row)
        found.won += winner is tried
        found.newly_protected += now_plan is None and then_plan is not None
        found.no_longer_protected += now_plan is not None and then_plan is None
        found.moved += now_plan is not None and then_plan not in (None, now_plan)
        found.first_backups += now_plan is None and then_plan is not None and row["last_point_at"] is None
        if now_plan != then_plan and len(found.machines) < _SAMPLE:
            shown = {"rule_id_now": row["rule_id"], "plan_id_now": now_plan, "plan_id_then": then_plan}
            found.machines.append(PreviewMachine(id=row["id"], name=row["name"], folder=row["folder"], **shown))
    return found
