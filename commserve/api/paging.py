"""Lists in pages. A cursor is the last key of a page, so a page costs the same wherever it lies, and nothing that stays
is shown twice or left out when something comes or goes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import sqlalchemy as sa
from fastapi import Query
from pydantic import BaseModel

from commserve.faults import RequestInvalid

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next` of the page before")]


class Page(BaseModel, Generic[T]):
    """`next` is the cursor of the next page; null on the last."""

    items: list[T]
    next: str | None


def page(
    connection: sa.Connection,
    wanted: sa.Select[Any],
    key: sa.ColumnElement[str],
    limit: int,
    cursor: str | None,
    show: Callable[[dict[str, Any]], T],
    *,
    newest_first: bool = False,
) -> Page[T]:
    """One page of rows by a unique text column, whose name in the rows is that of the column."""
    if cursor is not None:
        after = _decode(cursor)
        wanted = wanted.where(key < after if newest_first else key > after)
    wanted = wanted.order_by(key.desc() if newest_first else key).limit(limit + 1)
    result = connection.execute(wanted)
    names = tuple(result.keys())
    rows = [dict(zip(names, row, strict=True)) for row in result.all()]
    more = len(rows) > limit
    items = [show(row) for row in rows[:limit]]
    last = str(rows[limit - 1][key.name]) if more else None
    return Page(items=items, next=None if last is None else _encode(last))


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise RequestInvalid("cursor: not one of ours; take `next` of the page before") from error
