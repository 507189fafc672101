"""Lists in pages. A cursor is the last key of a page, so a page costs the same wherever it lies, and nothing that stays
is shown twice or left out when something comes or goes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
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
    rows, following = _rows(connection, wanted, key, limit, cursor, newest_first=newest_first)
    return Page(items=[show(row._asdict()) for row in rows], next=following)


def page_text(
    connection: sa.Connection,
    wanted: sa.Select[Any],
    key: sa.ColumnElement[str],
    limit: int,
    cursor: str | None,
    write: Callable[[Any], str],
) -> str:
    """The same as JSON, for long lists: `write` gives the JSON of a row, and nothing else looks at it."""
    rows, following = _rows(connection, wanted, key, limit, cursor)
    return f'{{"items":[{",".join(map(write, rows))}],"next":{json.dumps(following)}}}'


def _rows(
    connection: sa.Connection,
    wanted: sa.Select[Any],
    key: sa.ColumnElement[str],
    limit: int,
    cursor: str | None,
    *,
    newest_first: bool = False,
) -> tuple[Sequence[sa.Row[Any]], str | None]:
    if cursor is not None:
        after = _decode(cursor)
        wanted = wanted.where(key < after if newest_first else key > after)
    wanted = wanted.order_by(key.desc() if newest_first else key).limit(limit + 1)
    rows = connection.execute(wanted).all()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _encode(str(getattr(rows[limit - 1], key.name)))


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise RequestInvalid("cursor: not one of ours; take `next` of the page before") from error
