"""/points: the recovery points that pools hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from commserve.access.roles import Permission
from commserve.api.call import Call, posts, reads
from commserve.api.jobs import Job, show_row
from commserve.api.machines import SCOPES
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, Moment
from commserve.catalog import expiry
from commserve.faults import NotFound, RetentionRefused
from commserve.jobs.backlog import submit_one
from commserve.store.tables import jobs, machines, points

router = APIRouter(prefix="/points", tags=["points"])
_KEEPING = ("protected", "hold")


class Point(BaseModel):
    id: str = Field(description="10 hexadecimal digits, one of its pool")
    key: str = Field(description="`<pool id>:<id>`: one of all pools")
    pool_id: str
    machine_id: str
    machine_name: str
    time: Moment
    parent: str
    disk_bytes: int
    data_bytes: int
    stored_bytes: int
    expired: bool
    marks: list[str]


class ExpireIn(Input):
    """A person's word: retention is not asked, marks are."""

    pool_id: Id
    points: list[Annotated[str, Field(pattern=r"^[0-9a-f]{10}$")]] = Field(min_length=1, max_length=1000)


def known_points() -> sa.Select[Any]:
    """Points with their machine's scopes, where the machine is known."""
    key = (points.c.pool_id + ":" + points.c.id).label("key")
    return sa.select(points, key, *SCOPES.values()).outerjoin(machines, machines.c.id == points.c.machine_id)


@router.get("", response_model=Page[Point])
def list_points(
    call: Annotated[Call, reads(Permission.POINTS_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    machine_id: Annotated[str | None, Query(max_length=200)] = None,
    pool_id: Annotated[str | None, Query(max_length=200)] = None,
    expired: Annotated[bool, Query(description="also those that are expired")] = False,
) -> Response:
    """Newest first in each pool. Points of machines that are known no more: for bindings on everything."""
    wanted = known_points().where(call.visible(SCOPES))
    if machine_id is not None:
        wanted = wanted.where(points.c.machine_id == machine_id)
    if pool_id is not None:
        wanted = wanted.where(points.c.pool_id == pool_id)
    if not expired:
        wanted = wanted.where(points.c.expired.is_(False))
    key = wanted.selected_columns.key
    return call.answer(page(call.connection, wanted, key, limit, cursor, Point.model_validate, newest_first=True))


@router.post("/expire", status_code=201, response_model=Job)
def expire_points(body: ExpireIn, call: Annotated[Call, posts(Permission.POINTS_EXPIRE)]) -> Response:
    """Have a MediaAgent mark points expired. Refused for points that somebody holds or protects."""
    check_expiry(call, body.pool_id, body.points)
    wanted = expiry.wanted(body.pool_id, tuple(sorted(set(body.points))), call.person.name, call.now)
    key = submit_one(call.connection, call.services.ids, wanted, call.now)
    call.new_work = True
    row = call.connection.execute(sa.select(jobs).where(jobs.c.id == key)).one()
    return call.answer(show_row(row._asdict()), 201, location=f"/api/v1/jobs/{key}")


def check_expiry(call: Call, pool_id: str, point_ids: Sequence[str]) -> None:
    """May the caller have these expire? Raises NotAllowed, NotFound, RetentionRefused."""
    call.authorize()
    found = sa.select(points).where(points.c.pool_id == pool_id, points.c.id.in_(point_ids))
    rows = {row.id: row for row in call.connection.execute(found)}
    for point_id in point_ids:
        if point_id not in rows or rows[point_id].expired:
            raise NotFound(f"points: no {point_id!r} in pool {pool_id!r}")
        kept = set(rows[point_id].marks).intersection(_KEEPING)
        if kept:
            raise RetentionRefused(f"point {point_id} is marked {min(kept)}")
